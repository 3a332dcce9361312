"""What stands between a model's wish and a tool. It knows no rule."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from lmrun.tools.tool import Caller, ToolResult, ToolSpec


@dataclass(frozen=True, slots=True)
class Wish:
    """A call that somebody wants. `is_tainted`: its run has read content from elsewhere."""

    id: str
    tool: ToolSpec
    arguments: Mapping[str, Any]
    caller: Caller
    is_tainted: bool = False


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody is asked about a call. `reason`: why it is not simply run."""

    id: str
    tool: str
    description: str | None
    arguments: dict[str, Any]
    reason: str | None = None


Reply = Literal["once", "session", "always", "no"]
"""`session`: this tool with these arguments, until the run ends; `always`: kept."""

Ask = Callable[[Question], Awaitable[Reply]]


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason`: for the model and the log, empty where there is nothing to say. `is_noted`: the
    audit log has it already. `find_denial`: why what was allowed may not be run any more, for those
    that have waited; None where it may."""

    is_allowed: bool
    reason: str = ""
    is_noted: bool = field(default=False, compare=False)
    find_denial: Callable[[], str | None] = field(default=_nothing, compare=False, repr=False)


class Gate(Protocol):
    """Decides, asks, and writes down."""

    async def decide(self, wish: Wish, ask: Ask | None) -> Verdict:
        """Whether the call may be run. `ask`: None where there is nobody to ask."""
        ...

    def note(self, wish: Wish, verdict: Verdict, result: ToolResult | None, seconds: float) -> None:
        """Write down what became of it; None: it was not run, or was cancelled."""
        ...
