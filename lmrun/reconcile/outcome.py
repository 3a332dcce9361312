"""Actions, plans, outcomes and the events of an apply, as values."""

from __future__ import annotations

from typing import Literal

import msgspec

ActionKind = Literal["Listen", "Load", "Reload", "Update", "Unload"]
Way = Literal["blue_green", "recreate"]


class FieldChange(msgspec.Struct, frozen=True):
    """One reason for an action: `field` is its path in the profile, values are shown as YAML."""

    field: str
    old: str | None
    new: str | None


class Action(msgspec.Struct, frozen=True):
    """One thing to do. `target`: the instance's identifier, or the listener's address.

    `fetch_bytes`: to download first, None when unknown until the index is asked; 0 for nothing.
    `memory_bytes`: what it adds to (or takes from) RAM, measured or estimated from the file.
    `streams`: requests that use the instance now, which an Unload ends and a Reload lets finish;
    `clients`: the names of their API keys. `seconds`: how long it took the last time, None when
    that was never measured. `rollout`: how a Reload replaces the instance. `evicts`: instances that
    requests have loaded and that would make room for it. `problem`: why it will fail as things
    stand.
    """

    kind: ActionKind
    target: str
    model: str | None
    changes: tuple[FieldChange, ...]
    fetch_bytes: int | None = 0
    memory_bytes: int = 0
    streams: int = 0
    problem: str | None = None
    clients: tuple[str, ...] = ()
    seconds: float | None = 0.0
    rollout: Way | None = None
    evicts: tuple[str, ...] = ()


class MemoryPrice(msgspec.Struct, frozen=True):
    """Bytes of RAM that all instances take: now, afterwards, and at most on the way there.

    `free_bytes`: what further ones may take now; None for no limit.
    """

    before_bytes: int
    after_bytes: int
    peak_bytes: int
    free_bytes: int | None = None


class FileDigest(msgspec.Struct, frozen=True):
    """One text that the profile consists of. `sha256`: in hexadecimal."""

    path: str
    sha256: str


class Plan(msgspec.Struct, frozen=True):
    """What would change. `base_generation`: the generation it was compared with; 0 for none.
    `files`: what the profile was made of."""

    base_generation: int
    actions: tuple[Action, ...]
    memory: MemoryPrice = MemoryPrice(0, 0, 0)
    files: tuple[FileDigest, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.actions


class RollbackPlan(msgspec.Struct, frozen=True):
    """What going back to `generation` would change."""

    generation: int
    plan: Plan


class Outcome(msgspec.Struct, frozen=True):
    """How one action ended. `error` and `hint` are None when it worked."""

    kind: ActionKind
    target: str
    seconds: float
    error: str | None = None
    hint: str | None = None


class Planned(msgspec.Struct, frozen=True, tag="plan", tag_field="event"):
    """First event of an apply."""

    plan: Plan
    generation: int


class ActionStarted(msgspec.Struct, frozen=True, tag="action.start", tag_field="event"):
    kind: ActionKind
    target: str


class ActionProgress(msgspec.Struct, frozen=True, tag="action.progress", tag_field="event"):
    """`phase`: what it does now. `done` of `total`: bytes while fetching, else 0.0 to 1.0."""

    target: str
    phase: Literal["fetch", "load"]
    done: float
    total: float | None


class ActionEnded(msgspec.Struct, frozen=True, tag="action.end", tag_field="event"):
    outcome: Outcome


class ApplyEnded(msgspec.Struct, frozen=True, tag="apply.end", tag_field="event"):
    """Last event of an apply. `address`: where the HTTP port answers."""

    converged: bool
    generation: int
    address: str | None


ApplyEvent = Planned | ActionStarted | ActionProgress | ActionEnded | ApplyEnded
