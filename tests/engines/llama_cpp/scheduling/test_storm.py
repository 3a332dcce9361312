"""Storms of random requests break nothing: see `storms/`. `make storm` lets many more of them rage.

They rage in a process of their own, so that one that llama.cpp ends is a failed test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.llama_cpp.scheduling.storms.worlds import KINDS

STORMS = int(os.environ.get("LMRUN_STORMS", "1"))
FIRST_SEED = int(os.environ.get("LMRUN_STORM_SEED", "0"))
PROGRAM = "tests.engines.llama_cpp.scheduling.storms.run"


@pytest.mark.timeout(60 + 60 * STORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_sequence_ends_as_it_should_and_gives_back_all_it_held(
    kind: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", PROGRAM, str(tmp_path), kind, str(FIRST_SEED), str(STORMS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seeds = done.stdout.splitlines()
    last = seeds[-1] if seeds else "it never began"
    assert done.returncode == 0, f"{last}, exit code {done.returncode}\n{done.stderr[-6000:]}"
    print(last)
    assert f"storms={STORMS}," in last
