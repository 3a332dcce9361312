"""The command line inside the test, and as a process beside a server that plays one."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lmrun.cli import main
from tests.support.control import FakeServer, playing_server

COMMAND = [sys.executable, "-P", "-m", "lmrun"]


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def home() -> Iterator[Path]:
    """A home with a path short enough for a socket on every platform."""
    with tempfile.TemporaryDirectory(prefix="lmrun-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def server(home: Path) -> Iterator[FakeServer]:
    with playing_server(home) as fake:
        yield fake


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A valid profile."""
    file = tmp_path / "p.yaml"
    file.write_text("version: 1\nmodels:\n  smollm2: {source: file:m.gguf}\n")
    return file


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """What a command run by a test sees."""
    kept = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
    return {**kept, "LMRUN_HOME": str(home)}


@pytest.fixture
def lmrun(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """The command line in this process: fast, and with its real exit codes."""
    for name in os.environ:
        if name.startswith("LMRUN_"):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))

    def run(*arguments: object) -> Result:
        words = [str(argument) for argument in arguments]
        code = main.run(words)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def lmrun_process(environment: dict[str, str], tmp_path: Path) -> Run:
    """The command line as a process of its own."""

    def run(*arguments: object, stdin: bytes = b"", **variables: str) -> Result:
        done = subprocess.run(
            [*COMMAND, *(str(argument) for argument in arguments)],
            input=stdin,
            capture_output=True,
            env={**environment, **variables},
            cwd=tmp_path,
            timeout=30,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run
