"""Durable runs: started, followed, listed, cancelled, and resumed. It knows no door."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext

import msgspec

from lmrun.chat.request import Request
from lmrun.errors import (
    InvalidParameter,
    QueueFull,
    RunConflict,
    RunError,
    RunNotFound,
    StoreError,
)
from lmrun.failpoints import reach
from lmrun.profile.schema import Profile
from lmrun.store.runs import StoredRun, StoredRuns
from lmrun.tools.act.assignment import assign, load_prediction
from lmrun.tools.act.events import ActEnd, Told
from lmrun.tools.act.journal import StoredJournal, read_steps
from lmrun.tools.act.live import LiveRun
from lmrun.tools.act.loop import act
from lmrun.tools.act.opening import Opening
from lmrun.tools.act.outlet import shield
from lmrun.tools.act.records import (
    Job,
    Outcome,
    decode,
    describe,
    digest,
    encode,
    find_outcome,
    make_job,
    make_stored,
    summarize,
    to_error,
    to_failure,
)
from lmrun.tools.act.requests import ActRequest, RunDetail, RunState, RunSummary
from lmrun.tools.act.sources import Source, no_sources
from lmrun.tools.act.steps import Step, Transcript
from lmrun.tools.act.telling import retell
from lmrun.tools.mcp.reports import ElicitationEvent
from lmrun.tools.models import Models
from lmrun.tools.policy.gate import Ask, Gate, Question, Reply
from lmrun.tools.tool import Caller, Toolset

log = logging.getLogger("lmrun.runs")

MAX_LIVE = 256
MAX_KEY_LENGTH = 200
PATIENCE_S = 30.0
"""How long a run that is not in the background waits for a follower."""
ANSWER_S = 3600.0
"""How long a run in the background waits for an answer; its model is held meanwhile."""

_AT_REST = ("interrupted", "running")
"""States of a run that has not ended, if it is not going on here: a full disk may keep it from
writing down that it was stopped."""


Attend = Callable[[str, Callable[[ElicitationEvent], None]], AbstractContextManager[None]]
"""Somebody is there, while the block runs, for what MCP servers ask on behalf of a run."""


class Runs:
    """All runs of one home. `toolset_for`: the tools that patterns of the profile mean. `on_end`:
    told the id of each run that is not going on any more. `attend`: how the questions of MCP
    servers come to a run's followers; None: they do not."""

    def __init__(
        self,
        models: Models,
        toolset_for: Callable[[Sequence[str]], Toolset],
        gate: Gate,
        store: StoredRuns,
        find_profile: Callable[[], Profile | None],
        *,
        sources_for: Callable[[Opening], Sequence[Source]] = no_sources,
        patience_s: float = PATIENCE_S,
        on_end: Callable[[str], None] = lambda run: None,
        attend: Attend | None = None,
    ) -> None:
        self._models = models
        self._toolset_for = toolset_for
        self._sources_for = sources_for
        self._gate = gate
        self._store = store
        self._find_profile = find_profile
        self._patience_s = patience_s
        self._on_end = on_end
        self._attend = attend
        self._live: dict[str, LiveRun] = {}
        self._beginning = asyncio.Lock()

    async def open(self) -> None:
        """Once, when models can be asked for: what ran when the last server ended is interrupted,
        and what runs in the background goes on. Raises StoreError."""
        async with self._beginning:
            for run in await asyncio.to_thread(self._store.take_over, frozenset(self._live)):
                if len(self._live) < MAX_LIVE:
                    log.info("the run %s goes on", run.id)
                    await self._go_on(run)

    async def close(self) -> None:
        """Stop every run; they are interrupted, and can be resumed by the next server."""
        async with self._beginning:
            await asyncio.gather(*(live.stop("interrupted") for live in [*self._live.values()]))

    async def start(self, request: ActRequest, caller: Caller) -> RunSummary:
        """Begin, and say which run it is; the same caller's `idempotency_key` gives the same run.
        Raises InvalidParameter and ModelNotFound for a request that cannot be, RunConflict for a
        key that was used with another one, QueueFull when too many run, StoreError."""
        _check_key(request.idempotency_key)
        assignment = assign(request, self._find_profile())
        id = f"run_{secrets.token_hex(12)}"
        job = make_job(id, request, assignment, caller)
        try:
            found = await shield(self._begin(make_stored(id, request, job, time.time()), job))
        except asyncio.CancelledError:
            await self._leave(id)
            raise
        if found.digest != digest(request):
            raise RunConflict(
                f"The idempotency key {str(request.idempotency_key)[:80]!r} belongs to the run "
                f"{found.id}, which was asked for something else.",
                hint="Choose a new key for a new task.",
            )
        return summarize(found)

    async def follow(self, id: str) -> AsyncGenerator[Told, None]:
        """All events of a run, from its first one: those that were, shortened, and those to come.
        The last is its ActEnd; instead raises what ended it: BudgetExceeded, EngineError and the
        like, or RunError when it was cancelled or interrupted. Raises RunNotFound. A run that is
        not in the background is cancelled when its last follower closes this; one with an
        idempotency key, when nobody has come back by PATIENCE_S."""
        try:
            async with self._beginning:
                run = await self._find(id)
                live = self._live.get(id)
            told = live.broadcast.follow() if live is not None else self._retell(run)
            async with aclosing(told) as events:
                async for event in events:
                    yield event
        finally:
            await self._leave(id)

    async def _leave(self, id: str) -> None:
        """Somebody who started or followed a run is gone, perhaps before its first event."""
        live = self._live.get(id)
        if live is not None:
            await live.leave()

    async def list(
        self, state: RunState | None = None, *, limit: int = 100
    ) -> Sequence[RunSummary]:
        """The newest first."""
        runs = await asyncio.to_thread(self._store.read_all, state, limit)
        return [summarize(run, len(self._find_questions(run.id))) for run in runs]

    async def get(self, id: str) -> RunDetail:
        """Raises RunNotFound."""
        run = await self._find(id)
        job, steps = await self._read(id)
        questions = self._find_questions(id)
        return describe(run, Transcript(job.assignment.messages, steps), questions)

    async def cancel(self, id: str) -> RunSummary:
        """Stop it, and wait until model and tools have stopped. Raises RunNotFound, RunConflict
        for one that has ended otherwise."""
        live = self._live.get(id)
        if live is not None:
            await live.stop("cancelled")
        async with self._beginning:
            run = await self._find(id)
            if run.state in _AT_REST and id not in self._live:
                await asyncio.to_thread(self._store.set_state, id, "cancelled")
                run = await self._find(id)
        if run.state != "cancelled":
            raise RunConflict(f"The run {id} cannot be cancelled: it is {run.state} already.")
        return summarize(run)

    async def resume(
        self, id: str, *, approvals: bool = False, elicitations: bool = False
    ) -> RunSummary:
        """Go on with a run that is interrupted or failed. Finished calls are not made again. One
        that had begun and not finished is made again if its tool is idempotent; otherwise the
        model is told that its outcome is unknown. `approvals`: somebody answers its questions,
        even if nobody did before; `elicitations`: those of MCP servers. Raises RunNotFound,
        RunConflict, QueueFull."""
        async with self._beginning:
            run = await self._find(id)
            if run.state not in (*_AT_REST, "failed") or id in self._live:
                raise RunConflict(
                    f"The run {id} cannot be resumed: it is {run.state}.",
                    hint="Only runs that were interrupted or have failed can.",
                )
            self._require_room()
            await self._go_on(run, approvals=approvals, elicitations=elicitations)
        return summarize(await self._find(id))

    def find_patience(self, id: str | None) -> float | None:
        """How long an answer to its questions is waited for, in seconds; None: the usual time.
        Whoever has begun a run in the background sits nowhere and waits for it."""
        live = self._live.get(id or "")
        return ANSWER_S if live is not None and live.is_background else None

    async def reply(self, id: str, question: str, reply: Reply) -> None:
        """Answer the question of that id. Raises RunNotFound, RunConflict when it does not wait."""
        live = self._live.get(id)
        if live is None:
            run = await self._find(id)
            raise RunConflict(f"The run {id} asks nothing: it is {run.state}.")
        live.reply(question, reply)

    async def _begin(self, mine: StoredRun, job: Job) -> StoredRun:
        """Keep and launch it, unless there is one with the same key already."""
        async with self._beginning:
            self._require_room()
            found = await asyncio.to_thread(self._add, mine, encode(job))
            if found.id == mine.id:
                self._launch(found, job, ())
        return found

    def _add(self, run: StoredRun, content: bytes) -> StoredRun:
        reach("act.creating")
        found = self._store.add(run, content)
        reach("act.created")
        return found

    def _find_questions(self, id: str) -> tuple[Question, ...]:
        live = self._live.get(id)
        return live.questions if live is not None else ()

    async def _find(self, id: str) -> StoredRun:
        run = await asyncio.to_thread(self._store.read, id)
        if run is None:
            raise RunNotFound(f"There is no run {id[:80]!r}.", hint="Older runs are forgotten.")
        return run

    async def _read(self, id: str) -> tuple[Job, Sequence[Step]]:
        content = await asyncio.to_thread(self._store.read_content, id)
        return decode(content, Job), await asyncio.to_thread(read_steps, self._store, id)

    async def _retell(self, run: StoredRun) -> AsyncGenerator[Told, None]:
        """What a run said that is not going on."""
        job, steps = await self._read(run.id)
        transcript = Transcript(job.assignment.messages, steps)
        for event in retell(transcript, job.assignment.limits.max_rounds):
            yield event
        end = find_outcome(run).end
        if end is None:
            raise to_error(run)
        yield end

    def _require_room(self) -> None:
        if len(self._live) >= MAX_LIVE:
            raise QueueFull(f"{MAX_LIVE} runs are going on already.")

    async def _go_on(
        self, run: StoredRun, *, approvals: bool = False, elicitations: bool = False
    ) -> None:
        """Launch a run that had begun."""
        job, steps = await self._read(run.id)
        job = msgspec.structs.replace(
            job,
            approvals=job.approvals or approvals,
            elicitations=job.elicitations or elicitations,
        )
        await asyncio.to_thread(self._store.set_state, run.id, "running")
        self._launch(run, job, steps)

    def _launch(self, run: StoredRun, job: Job, steps: Sequence[Step]) -> None:
        transcript = Transcript(job.assignment.messages, steps)
        past = retell(transcript, job.assignment.limits.max_rounds)
        live = LiveRun(
            run.id,
            is_background=run.is_background,
            is_awaited=run.idempotency_key is not None,
            past=past,
        )
        ask = live.ask if job.approvals else None
        live.begin(self._work(live, job, steps, ask), self._see_out(live), self._patience_s)
        self._live[run.id] = live

    async def _work(
        self, live: LiveRun, job: Job, steps: Sequence[Step], ask: Ask | None
    ) -> ActEnd:
        """The run itself. Raises what ends it otherwise."""
        assignment = job.assignment
        async with self._models.open(assignment.model) as generate:
            events = act(
                generate,
                Request(assignment.messages),
                load_prediction(assignment.prediction),
                self._toolset_for(assignment.tools),
                gate=self._gate,
                caller=job.caller,
                limits=assignment.limits,
                ask=ask,
                journal=StoredJournal(self._store, live.id),
                begun=steps,
                sources=lambda: self._sources_for(assignment.opening),
            )
            with self._attending(live, job):
                async with aclosing(events):
                    async for event in events:
                        if isinstance(event, ActEnd):
                            return event
                        live.broadcast.tell(event)
        raise RunError("The run ended without an answer.")

    def _attending(self, live: LiveRun, job: Job) -> AbstractContextManager[None]:
        if self._attend is None or not job.elicitations:
            return nullcontext()
        return self._attend(live.id, live.broadcast.tell)

    async def _see_out(self, live: LiveRun) -> None:
        """Write down how a run ended, and then say so."""
        await asyncio.wait({live.work})
        state, end, error = live.judge()
        failure = to_failure(error) if state == "failed" and error is not None else None
        try:
            await asyncio.to_thread(self._settle, live.id, state, encode(Outcome(end, failure)))
        except StoreError as refused:
            log.error("the end of the run %s could not be written down: %s", live.id, refused)
        finally:
            del self._live[live.id]
            self._on_end(live.id)
            live.close(end, error)

    def _settle(self, id: str, state: RunState, outcome: bytes) -> None:
        reach("act.ending")
        self._store.set_state(id, state, outcome)
        reach("act.ended")


def _check_key(key: str | None) -> None:
    if key is not None and not 1 <= len(key) <= MAX_KEY_LENGTH:
        raise InvalidParameter(
            f"`idempotency_key` has 1 to {MAX_KEY_LENGTH} characters.", param="idempotency_key"
        )
