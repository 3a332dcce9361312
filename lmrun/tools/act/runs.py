"""Durable runs: started, followed, listed, cancelled, and resumed. It knows no door."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence

from lmrun.profile.schema import Profile
from lmrun.store.runs import StoredRuns
from lmrun.tools.act.events import ActEvent
from lmrun.tools.act.requests import ActRequest, RunDetail, RunState, RunSummary
from lmrun.tools.models import Models
from lmrun.tools.policy.gate import Gate, Reply
from lmrun.tools.tool import Caller, Toolset


class Runs:
    """All runs of one home. `toolset_for`: the tools that patterns of the profile mean."""

    def __init__(
        self,
        models: Models,
        toolset_for: Callable[[Sequence[str]], Toolset],
        gate: Gate,
        store: StoredRuns,
        find_profile: Callable[[], Profile | None],
    ) -> None: ...

    async def open(self) -> None:
        """Once, when models can be asked for: what ran when the last server ended is interrupted,
        and what runs in the background goes on."""

    async def close(self) -> None:
        """Stop every run; they are interrupted, and can be resumed by the next server."""

    async def start(self, request: ActRequest, caller: Caller) -> RunSummary:
        """Begin, and say which run it is; the same caller's `idempotency_key` gives the same run.
        Raises InvalidParameter and ModelNotFound for a request that cannot be, RunConflict for a
        key that was used with another one, QueueFull when too many run, StoreError."""

    def follow(self, id: str) -> AsyncGenerator[ActEvent, None]:
        """All events of a run, from its first one: those that were, shortened, and those to come.
        The last is its ActEnd; instead raises what ended it: BudgetExceeded, EngineError and the
        like, or RunError when it was cancelled or interrupted. Raises RunNotFound. A run that is
        not in the background is cancelled when its last follower closes this."""

    async def list(self, state: RunState | None = None, *, limit: int = 100) -> list[RunSummary]:
        """The newest first."""

    async def get(self, id: str) -> RunDetail:
        """Raises RunNotFound."""

    async def cancel(self, id: str) -> RunSummary:
        """Stop it, and wait until model and tools have stopped. Raises RunNotFound, RunConflict
        for one that has ended otherwise."""

    async def resume(self, id: str, *, approvals: bool = False) -> RunSummary:
        """Go on with a run that is interrupted or failed. Finished calls are not made again. One
        that had begun and not finished is made again if its tool is idempotent; otherwise the
        model is told that its outcome is unknown. Raises RunNotFound, RunConflict, QueueFull."""

    async def reply(self, id: str, question: str, reply: Reply) -> None:
        """Answer the question of that id. Raises RunNotFound, RunConflict when it does not wait."""
