"""A file for the numbers of processes that a test must not leave behind."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[Path]:
    """Where a test's program writes its processes; those that got away are ended."""
    file = tmp_path / "pids"
    yield file
    for line in file.read_text().split() if file.exists() else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(line), signal.SIGKILL)
