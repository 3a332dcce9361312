"""A run of `lmrun act` as a server tells it. It knows no command."""

from __future__ import annotations

from typing import Any

import msgspec

from lmrun.chat.events import (
    MessageDelta,
    ToolCallArguments,
    ToolCallStart,
    Usage,
)
from lmrun.tools.act.events import (
    ActEnd,
    ApprovalNeeded,
    CallProgress,
    CallSucceeded,
    RoundEnd,
    RoundStart,
)
from lmrun.tools.act.requests import RunState, RunSummary
from lmrun.tools.act.stream import RunStarted
from lmrun.tools.policy.gate import Question

ACT = "/lmrun/v1/act"
USAGE = Usage(10, 5)


def make_run(state: RunState = "running", **changes: Any) -> RunSummary:
    plain = RunSummary(
        id="run_1",
        state=state,
        model="assistant",
        agent=None,
        door="cli",
        key=None,
        background=False,
        created_at=1_790_000_000.0,
        updated_at=1_790_000_001.0,
        task="Add 2 and 3",
    )
    return msgspec.structs.replace(plain, **changes)


ADDING = [
    RunStarted(make_run()),
    RoundStart(0, False),
    MessageDelta("Let me see."),
    ToolCallStart(0, "c1", "add"),
    ToolCallArguments(0, '{"a": 2,'),
    ToolCallArguments(0, ' "b": 3}'),
    CallProgress(0, "c1", 1, 2, "halfway"),
    CallSucceeded(0, "c1", "add", "5", 0.01),
    RoundEnd(0, USAGE),
    RoundStart(1, False),
    MessageDelta("It is "),
    MessageDelta("5."),
    RoundEnd(1, USAGE),
    ActEnd("It is 5.", "eosFound", 2, 1, USAGE),
]
QUESTION = ApprovalNeeded(
    0, Question("c1", "create_file", "Creates a file.", {"name": "a.txt"}, "it writes")
)
ASKING = [*ADDING[:6], QUESTION, *ADDING[7:]]
