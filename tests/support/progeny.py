"""Programs for tests that start others and try to get away. It knows no tool."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.server import eventually, is_alive

_ESCAPING = """
import os, signal, sys, time

def note():
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")

def resist(number, frame):
    open(sys.argv[1] + ".asked", "w").close()

signal.signal(signal.SIGTERM, resist)
note()
if os.fork() == 0:
    note()
    if os.fork() == 0:
        os.setsid()  # out of the group, out of the session, and an orphan
        if os.fork() == 0:
            note()
            time.sleep(300)
        os._exit(0)
    time.sleep(300)
stays = len(sys.argv) == 2
while stays or len(open(sys.argv[1]).read().split()) < 3:
    time.sleep(0.01)
"""
ESCAPING_COUNT = 3


def write_escaping(folder: Path) -> tuple[str, str]:
    """A program and the file in which each of its ESCAPING_COUNT processes writes its number. They
    resist TERM, which `was_asked` tells; one leaves group and session. `[*program, FILE]` stays;
    with one argument more its first process ends once the others are there."""
    program = folder / "escaping.py"
    program.write_text(_ESCAPING)
    return sys.executable, str(program)


def read_pids(file: Path) -> list[int]:
    """Once all are there."""

    def look() -> list[int] | None:
        lines = file.read_text().split() if file.exists() else []
        return [int(line) for line in lines] if len(lines) == ESCAPING_COUNT else None

    return eventually(look)


def was_asked(file: Path) -> bool:
    """Whether one of them got TERM."""
    return Path(f"{file}.asked").exists()


def survivors(file: Path) -> list[int]:
    """Those that still run."""
    return [pid for pid in read_pids(file) if is_alive(pid)]
