"""Golden files: what is written can be read, reviewed and merged; nothing lies elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmrun.checks.goldens import locate_golden, read_golden, write_golden
from lmrun.checks.values import Answer
from lmrun.errors import LmrunError
from lmrun.profile.loader import load_profile
from tests.checks.values import call

ANSWER = Answer("Größe zählt.\n", "stop", reasoning="Hm.", tool_calls=(call(),))
PROFILE = """\
version: 1
include: [parts/checks.yaml]
models: {m: {source: file:m.gguf}}
"""
CHECKS = "checks: {c: {model: m, prompt: Hi, expect: {golden: goldens/c.json}}}\n"


def test_what_is_written_is_read_again_and_other_answers_stay(tmp_path: Path) -> None:
    file = tmp_path / "new" / "c.json"
    write_golden(file, "b", ANSWER)
    write_golden(file, "a", Answer("x", "length"))
    write_golden(file, "b", ANSWER)
    assert read_golden(file) == {"a": Answer("x", "length"), "b": ANSWER}
    assert list(json.loads(file.read_text())["answers"]) == ["a", "b"]
    assert "Größe zählt." in file.read_text()
    assert file.read_text().endswith("}\n")


def test_no_file_is_no_answer(tmp_path: Path) -> None:
    assert read_golden(tmp_path / "none.json") == {}


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"answers": {"a": {}}}', b'{"answers": {}, "x": 1}', b"\xff"]
)
def test_a_file_that_is_no_golden_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "c.json"
    file.write_bytes(content)
    with pytest.raises(LmrunError, match=r"c\.json is no golden file"):
        read_golden(file)


def test_a_golden_file_lies_beside_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "checks.yaml").write_text(CHECKS)
    (tmp_path / "p.yaml").write_text(PROFILE)
    loaded = load_profile(tmp_path / "p.yaml", {})
    assert locate_golden(loaded, "c") == tmp_path / "parts" / "goldens" / "c.json"


def test_a_link_does_not_lead_it_elsewhere(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "profile", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "goldens").symlink_to(elsewhere)
    (folder / "p.yaml").write_text(PROFILE.replace("include: [parts/checks.yaml]\n", "") + CHECKS)
    with pytest.raises(LmrunError, match="lies outside"):
        locate_golden(load_profile(folder / "p.yaml", {}), "c")
