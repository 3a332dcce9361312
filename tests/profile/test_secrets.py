"""A secret's value is in no message, representation or schema, whatever goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmrun.errors import ProfileInvalid
from lmrun.profile.loader import load_profile
from lmrun.profile.report import problems_to_json, problems_to_text

VALUE = "hunter2-Tr0ub4dor"
KEYS = "version: 1\nserver:\n  api_keys:\n    - name: ci\n      key: "
MODEL = "version: 1\nmodels:\n  m:\n    source: file:m\n    "

PROFILES = {
    "literal": KEYS + VALUE,
    "literal in quotes": KEYS + f"'{VALUE}'",
    "literal as default": KEYS + f"${{env:NONE:-{VALUE}}}",
    "literal beside a reference": KEYS + f"{VALUE}${{env:KEY}}",
    "literal in a broken reference": KEYS + f"${{{VALUE}}}",
    "literal in an open reference": KEYS + f"${{env:{VALUE}",
    "literal with an escape": KEYS + f"$${{{VALUE}}}",
    "two references": KEYS + "${env:KEY}${env:KEY}",
    "list": KEYS + f"[{VALUE}]",
    "mapping": KEYS + f"{{value: {VALUE}}}",
    "literal as the whole key": f"version: 1\nserver:\n  api_keys: [{VALUE}]\n",
    "literal as the list": f"version: 1\nserver:\n  api_keys: {VALUE}\n",
    "short on an open address": KEYS + "${env:KEY}\n  host: 0.0.0.0\n",
    "wrong elsewhere": KEYS + "${env:KEY}\n  port: no\n",
    "extra key beside it": KEYS + "${env:KEY}\n      extra: 1\n",
    "control character": KEYS + "${env:CONTROL}",
    "variable in a number": "version: 1\nserver:\n  port: ${env:KEY}\n",
    "variable in a choice": MODEL + "state: ${env:KEY}\n",
    "variable in a form": MODEL + "identifier: a ${env:KEY}\n",
    "variable as a source": "version: 1\nmodels:\n  m:\n    source: ${env:KEY}\n",
    "variable as a host": "version: 1\nserver:\n  host: ${env:KEY}\n",
    "variable as a size": "version: 1\nserver:\n  limits:\n    body: ${env:KEY}\n",
    "variable as a preset": MODEL + "preset: ${env:KEY}\n",
    "variable as an origin": "version: 1\nserver:\n  cors: ['${env:KEY}']\n",
    "file of others": KEYS + "${file:open.key}",
    "file with a control character": KEYS + "${file:control.key}",
    "file in a number": "version: 1\nserver:\n  port: ${file:open.key}\n",
    "not valid YAML after it": KEYS + f"{VALUE}: {VALUE}\n",
    "tag on it": KEYS + f"!!str {VALUE}\n",
    "unclosed quote": KEYS + f"'{VALUE}\n",
    "in an include entry": f"version: 1\ninclude: ['${{env:{VALUE}}}', {{a: {VALUE}}}]\n",
}


@pytest.mark.parametrize("text", PROFILES.values(), ids=PROFILES)
def test_no_report_of_a_refused_profile_holds_a_secret(tmp_path: Path, text: str) -> None:
    (tmp_path / "open.key").write_text(VALUE)
    (tmp_path / "open.key").chmod(0o644)
    (tmp_path / "control.key").write_text(f"{VALUE}\x07")
    (tmp_path / "control.key").chmod(0o600)
    profile = tmp_path / "p.yaml"
    profile.write_text(text)
    environment = {"KEY": VALUE, "CONTROL": f"{VALUE}\x07"}
    with pytest.raises(ProfileInvalid) as caught:
        load_profile(profile, environment)
    problems = caught.value.problems
    shown = [str(caught.value), repr(caught.value), problems_to_text(problems), repr(problems)]
    assert all(VALUE not in text for text in [*shown, json.dumps(problems_to_json(problems))])


def test_a_valid_profile_shows_no_secret(tmp_path: Path) -> None:
    profile = tmp_path / "p.yaml"
    profile.write_text(KEYS + "${env:KEY}\n")
    loaded = load_profile(profile, {"KEY": VALUE})
    shown = [repr(loaded), str(loaded.profile), loaded.profile.model_dump_json()]
    assert all(VALUE not in text and "***" in text for text in shown)
