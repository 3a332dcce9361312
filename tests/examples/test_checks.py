"""The examples' checks on the real model: every one passes, and a golden answer is kept."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lmrun.profile.loader import load_profile
from tests.cli.conftest import COMMAND
from tests.support.smollm2 import smollm2_path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def check(home: Path, *arguments: str) -> tuple[int, str]:
    """The exit code and the output of `lmrun check`."""
    done = subprocess.run(
        [*COMMAND, "check", *arguments],
        env={**os.environ, "LMRUN_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, done.stdout


def lay_over(example: str, folder: Path, key: str, **checks: Any) -> Path:
    """A profile over an example, whose model `key` is a file that other tests have fetched."""
    profile = folder / "p.yaml"
    changes = {
        "version": 1,
        "include": [str(EXAMPLES / example)],
        "models": {key: {"source": f"file:{smollm2_path()}"}},
        "checks": checks,
    }
    profile.write_text(json.dumps(changes))
    return profile


@pytest.mark.timeout(240)
def test_the_example_s_checks_pass_also_under_load_and_a_golden_answer_is_kept(
    tmp_path: Path,
) -> None:
    golden = {
        "model": "assistant",
        "prompt": "What is water made of?",
        "expect": {"golden": "water.json"},
    }
    profile = lay_over("checks.yaml", tmp_path, "smollm2-135m-instruct", water=golden)

    code, out = check(tmp_path / "home", "-p", str(profile), "--update", "--json")
    report = {it["name"]: it for it in json.loads(out)["checks"]}
    assert {name: it["status"] for name, it in report.items()} == dict.fromkeys(
        ("capital", "sampled", "json", "speed", "water"), "passed"
    ), report
    assert code == 0
    answers = json.loads((tmp_path / "water.json").read_bytes())["answers"]
    (fingerprint,) = answers
    assert fingerprint == report["capital"]["reply"]["fingerprint"]
    assert answers[fingerprint] == report["water"]["reply"]["answer"]

    code, out = check(tmp_path / "home", "water", "-p", str(profile))
    assert (code, out.splitlines()[-1]) == (0, "1 check: 1 passed.")


@pytest.mark.timeout(120)
def test_the_tools_example_calls_its_tool(tmp_path: Path) -> None:
    profile = lay_over("tools.yaml", tmp_path, "smollm2-135m-tools")
    code, out = check(tmp_path / "home", "delivery", "-p", str(profile), "--json")
    (result,) = json.loads(out)["checks"]
    assert (code, result["status"]) == (0, "passed"), result
    (call,) = result["reply"]["answer"]["tool_calls"]
    assert (call["name"], json.loads(call["arguments"])) == (
        "get_delivery_date",
        {"order_id": "1017"},
    )


def test_the_checks_in_the_readme_are_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (checks,) = (block for block in blocks if block.startswith("checks:"))
    profile = tmp_path / "p.yaml"
    profile.write_text(f"version: 1\nmodels: {{assistant: {{source: file:m.gguf}}}}\n{checks}")
    assert list(load_profile(profile, {}).profile.checks) == ["capital", "water"]
