"""What the act loop, the policy and the journal add to each tool call. No model: a script."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks.contenders.base import Setup
from benchmarks.results import Bar, Figure, Values
from benchmarks.scenarios.base import Arena, Scenario, merge
from lmrun.chat.events import ChatEnd, Event, MessageDelta, ToolCallArguments, ToolCallStart, Usage
from lmrun.chat.messages import Message
from lmrun.chat.request import Request
from lmrun.profile.schema import Profile
from lmrun.settings.prediction import PredictionConfig
from lmrun.store.approvals import Approvals
from lmrun.store.runs import StoredRuns
from lmrun.tools.act.limits import Limits
from lmrun.tools.act.loop import act
from lmrun.tools.act.requests import ActRequest, LimitsChoice
from lmrun.tools.act.runs import Runs
from lmrun.tools.models import Generate
from lmrun.tools.policy.audit import AuditLog
from lmrun.tools.policy.policy_gate import PolicyGate
from lmrun.tools.tool import Caller, OnProgress, ToolResult, ToolSpec

CALLS = 40
RUNS = 5

_CALLER = Caller("act", key="benchmark")
_MESSAGES = (Message("user", "Count."),)
_USAGE = Usage(prompt_tokens=0, completion_tokens=0)
_PARAMETERS = {
    "type": "object",
    "properties": {"number": {"type": "integer"}},
    "required": ["number"],
    "additionalProperties": False,
}


class Counting:
    """A model that calls a tool `CALLS` times, and the tool; both take no time that counts.

    `waits`: seconds from a call's last piece until the model is asked again, without the tool's.
    """

    spec = ToolSpec("count", "count", "Counts.", _PARAMETERS, policy="allow")

    def __init__(self) -> None:
        self.waits: list[float] = []
        self._ended = 0.0
        self._in_tool = 0.0

    async def __call__(
        self, request: Request, prediction: PredictionConfig
    ) -> AsyncGenerator[Event, None]:
        made = (len(request.messages) - len(_MESSAGES)) // 2
        if made:
            self.waits.append(time.perf_counter() - self._ended - self._in_tool)
        if made == CALLS:
            yield MessageDelta("Done.")
            yield ChatEnd("eosFound", _USAGE)
            return
        yield ToolCallStart(0, f"c{made:08}", "count")
        yield ToolCallArguments(0, f'{{"number": {made}}}')
        self._ended = time.perf_counter()
        yield ChatEnd("toolCalls", _USAGE)

    async def call(self, arguments: Mapping[str, Any], on_progress: OnProgress) -> ToolResult:
        began = time.perf_counter()
        result = ToolResult(str(arguments["number"]))
        self._in_tool = time.perf_counter() - began
        return result

    async def tools(self) -> Sequence[Counting]:
        return (self,)

    @asynccontextmanager
    async def open(self, model: str) -> AsyncIterator[Generate]:
        yield self


async def measure_acting(arena: Arena, repeat: int) -> Values:
    """With the house's gate: once with a journal on the disk and once without."""
    with tempfile.TemporaryDirectory() as folder:
        approvals = Approvals(Path(folder) / "approvals.db")
        audit = AuditLog(Path(folder) / "audit.jsonl")
        store = StoredRuns(Path(folder) / "runs.db")
        gate = PolicyGate(lambda: None, approvals, audit)
        try:
            plain, durable = Counting(), Counting()
            for _ in range(RUNS):
                await run_plain(plain, gate)
                await run_durable(durable, gate, store)
        finally:
            store.close()
            audit.close()
            approvals.close()
    return merge(summarize("plain", plain.waits), summarize("durable", durable.waits))


async def run_plain(counting: Counting, gate: PolicyGate) -> None:
    events = act(
        counting,
        Request(_MESSAGES),
        PredictionConfig(),
        counting,
        gate=gate,
        caller=_CALLER,
        limits=Limits(max_rounds=CALLS + 2),
    )
    async for _ in events:
        pass


async def run_durable(counting: Counting, gate: PolicyGate, store: StoredRuns) -> None:
    runs = Runs(counting, lambda _: counting, gate, store, lambda: Profile(version=1))
    limits = LimitsChoice(max_rounds=CALLS + 2)
    run = await runs.start(ActRequest(_MESSAGES, model="m", limits=limits), _CALLER)
    async for _ in runs.follow(run.id):
        pass
    await runs.close()


def summarize(name: str, waits: Sequence[float]) -> Values:
    """In milliseconds."""
    return {name: 1000 * median(waits), f"{name}_p95": 1000 * quantiles(waits, n=20)[18]}


ACT_OVERHEAD = Scenario(
    name="act_overhead",
    title=f"what a tool call costs beside the tool's own time, {RUNS} runs of {CALLS} calls",
    setup=Setup(context_length=4096, parallel=1),
    contenders=(),
    figures=(
        Figure("plain", "loop and policy, median", "ms", False),
        Figure("plain_p95", "loop and policy, p95", "ms", False),
        Figure("durable", "with the journal, median", "ms", False),
        Figure("durable_p95", "with the journal, p95", "ms", False),
    ),
    bars=(Bar("plain", at_most=2), Bar("durable", at_most=2)),
    measure=measure_acting,
)
