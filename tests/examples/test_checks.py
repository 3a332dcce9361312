"""`examples/checks.yaml` on the real model: every check passes, a golden answer is kept."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND
from tests.support.smollm2 import smollm2_path

EXAMPLE = Path(__file__).parents[2] / "examples" / "checks.yaml"


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


@pytest.mark.timeout(240)
def test_the_example_s_checks_pass_and_its_golden_answer_holds_under_load(
    tmp_path: Path,
) -> None:
    profile = tmp_path / "p.yaml"
    golden = {
        "model": "assistant",
        "prompt": "What is water made of?",
        "expect": {"golden": "water.json", "same_under_load": 3},
    }
    changes = {
        "version": 1,
        "include": [str(EXAMPLE)],
        # The file of the package that other tests have fetched already.
        "models": {"smollm2-135m-instruct": {"source": f"file:{smollm2_path()}"}},
        "checks": {"water": golden},
    }
    profile.write_text(json.dumps(changes))

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
