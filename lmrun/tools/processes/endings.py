"""How programs end, and what a model is told of it. Pure."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Literal

from lmrun.errors import EngineCrashed
from lmrun.profile.tooling.tools import ToolLimits
from lmrun.settings.quantities import format_size
from lmrun.tools.tool import ErrorKind

Exceeded = Literal["cpu", "processes"]
EXCEEDED: dict[str, Exceeded] = {"cpu": "cpu", "processes": "processes"}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a program ended. `returncode` as `subprocess` gives it; None: it cannot be told.
    `exceeded`: the limit for which it was ended."""

    returncode: int | None
    exceeded: Exceeded | None = None

    @property
    def is_good(self) -> bool:
        return self.returncode == 0 and self.exceeded is None


def explain(ending: Ending, limits: ToolLimits) -> tuple[ErrorKind, str]:
    """What to call a bad end, and what to say of it."""
    if ending.exceeded == "cpu" or ending.returncode == -signal.SIGXCPU:
        return "timeout", f"It used more than {limits.cpu:g} s of processor time, and was ended."
    if ending.exceeded == "processes":
        most = f"{limits.processes} processes and threads"
        return "failed", f"It started more than {most}, and was ended."
    if ending.returncode == -signal.SIGXFSZ:
        size = format_size(limits.file_size)
        return "failed", f"It wrote a file larger than {size}, and was ended."
    if ending.returncode is None:
        return "crashed", "It was ended from outside."
    how = EngineCrashed.describe(ending.returncode)
    if ending.returncode < 0:
        return "crashed", f"It was ended by {how}."
    return "failed", f"It ended with {how}."
