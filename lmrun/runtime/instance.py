"""What is known of one loaded (or loading, or failed) instance, and which states follow which.

It knows no process: who moves it from state to state does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from lmrun.engines.base import EngineUsage, ModelInfo
from lmrun.errors import LmrunError
from lmrun.runtime.spec import InstanceSpec
from lmrun.runtime.turns import Turns

State = Literal["stopped", "loading", "ready", "unloading", "failed"]

TRANSITIONS: dict[State, frozenset[State]] = {
    "stopped": frozenset({"loading"}),
    "loading": frozenset({"ready", "failed", "unloading"}),
    "ready": frozenset({"loading", "failed", "unloading"}),
    "unloading": frozenset({"stopped"}),
    "failed": frozenset({"unloading"}),
}
"""From `ready` to `loading` is the restart after a crash."""


@dataclass(slots=True)
class Instance:
    """The read side of a supervised instance.

    `error`: why it failed. `progress`: 0.0 to 1.0 while loading. `threads`: granted now, 0 while
    idle. `active`, `waiting`: sequences in the worker. `in_flight`: leases held or waited for.
    `restarts`: after crashes, since it was loaded. `usage`: what its engine held a moment ago.
    `turns`: which generations are in the worker, and which wait for it.
    `load_s`: how long its worker took from its start until it was ready, the last time. `clients`:
    leases held now, by who holds them, as far as he has a name.
    """

    spec: InstanceSpec
    state: State = "stopped"
    error: LmrunError | None = None
    pid: int | None = None
    info: ModelInfo | None = None
    progress: float | None = None
    threads: int = 0
    active: int = 0
    waiting: int = 0
    in_flight: int = 0
    restarts: int = 0
    usage: EngineUsage | None = None
    load_s: float | None = None
    clients: Counter[str] = field(default_factory=Counter)
    turns: Turns = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # One more than the engine computes at a time, so that a free place is taken at once.
        self.turns = Turns(lambda: self.spec.load.max_parallel_predictions + 1)

    @property
    def queued(self) -> int:
        """Generations that wait, in the worker or for their turn to go there."""
        return self.waiting + self.turns.waiting

    def move_to(self, state: State, *, error: LmrunError | None = None) -> None:
        """Enter `state`. What the old one left behind is cleared; an illegal move is a bug."""
        assert state in TRANSITIONS[self.state], f"{self.state} to {state}"
        self.state = state
        self.error = error
        self.progress = 0.0 if state == "loading" else None
        if state != "ready":
            self.active = self.waiting = 0
            self.usage = None
        if state in ("stopped", "failed"):
            self.pid = None
