"""lmrun as a program that dies where a test says: `python crashing.py FOLDER ARGUMENTS…`.

In FOLDER it notes every failpoint that it reaches (`reached`). At the one that `armed` names it
writes down which processes it has started (`children`) and kills itself, as the kernel would.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from lmrun import failpoints
from lmrun.cli.main import main


class Crasher:
    """What a test knows of such a program, and tells it."""

    def __init__(self, folder: Path) -> None:
        self.program = (sys.executable, "-P", __file__, str(folder))
        self._reached = folder / "reached"
        self._armed = folder / "armed"
        self._children = folder / "children"

    def arm(self, point: str) -> None:
        """It is to die at `point` the next time it is there."""
        self._children.unlink(missing_ok=True)
        self._armed.write_text(point)

    def disarm(self) -> None:
        self._armed.unlink(missing_ok=True)

    def forget(self) -> None:
        """Begin to note anew."""
        self._reached.unlink(missing_ok=True)

    @property
    def reached(self) -> frozenset[str]:
        return (
            frozenset(self._reached.read_text().split()) if self._reached.exists() else frozenset()
        )

    @property
    def children(self) -> tuple[int, ...]:
        """The processes that it had started when it died, and theirs; fails when it did not."""
        return tuple(map(int, self._children.read_text().split()))

    def make_hook(self) -> Callable[[str], None]:
        """What the program does at every point."""

        def on_reach(name: str) -> None:
            with open(self._reached, "a") as file:
                file.write(f"{name}\n")
            if self._armed.exists() and self._armed.read_text() == name:
                self._children.write_text(" ".join(map(str, find_children(os.getpid()))))
                os.kill(os.getpid(), signal.SIGKILL)

        return on_reach


def find_children(pid: int) -> Iterator[int]:
    """All processes below `pid`."""
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, listed.read_text().split()):
            yield child
            yield from find_children(child)


if __name__ == "__main__":
    folder = Path(sys.argv.pop(1))
    failpoints.on_reach = Crasher(folder).make_hook()
    main()
