"""The profiles that ship with lmrun are valid and begin with their schema."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmrun.profile.effective import effective_prediction, system_prompt
from lmrun.profile.loader import load_profile

FOLDER = Path(__file__).parents[2] / "profiles"
EXAMPLES = FOLDER.parent / "examples"
CASES = "cases.yaml"
"""What a policy must say about calls; no profile."""

FILES = sorted(
    file for folder in (FOLDER, EXAMPLES) for file in folder.glob("**/*.yaml") if file.name != CASES
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_shipped_profile_is_valid_without_any_variable(file: Path) -> None:
    assert load_profile(file, {}).profile.version == 1


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_shipped_profile_names_the_schema_for_editors(file: Path) -> None:
    comment, _, schema = file.read_text().splitlines()[0].partition("=")
    assert comment == "# yaml-language-server: $schema"
    assert (file.parent / schema).is_file()


def test_the_quickstart_offers_an_assistant() -> None:
    profile = load_profile(FOLDER / "quickstart.yaml", {}).profile
    key = "smollm2-135m-instruct"
    assert profile.models[key].identifier == "assistant"
    assert profile.models[key].load.context_length == 2048
    assert effective_prediction(profile, key).max_tokens == 200
    assert system_prompt(profile, key)
