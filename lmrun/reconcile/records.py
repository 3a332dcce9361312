"""The shape of history: what was applied, by whom, and what came of it. It fetches nothing."""

from __future__ import annotations

from typing import Literal

import msgspec


class PastAction(msgspec.Struct, frozen=True):
    """An action that was planned. `fields`: paths in the profile that it was for; their values
    are in the generation's texts, where a secret is only named."""

    kind: str
    target: str
    fields: tuple[str, ...]


class OutcomeRecord(msgspec.Struct, frozen=True):
    """How an action ended the last time, of `tries`. `ended`: ISO 8601 in UTC."""

    kind: str
    target: str
    ended: str
    seconds: float
    error: str | None
    tries: int


class GenerationRecord(msgspec.Struct, frozen=True):
    """A generation as history has it. `author`: a user of this machine, or who changed by hand what
    was adopted; `how`: `apply`, `watch`, `serve`, `git <commit>`, `rollback to <number>` or
    `adopt`; both are empty where an older version wrote it. `created`: ISO 8601 in UTC.
    `is_current`: it is what should be."""

    number: int
    created: str
    author: str
    how: str
    state: Literal["accepted", "converged", "failed"]
    is_current: bool
    files: tuple[str, ...]
    plan: tuple[PastAction, ...]
    outcomes: tuple[OutcomeRecord, ...]


class History(msgspec.Struct, frozen=True):
    """The generations that are kept, the newest first."""

    generations: tuple[GenerationRecord, ...]


class StoredProfile(msgspec.Struct, frozen=True):
    """A generation's files as they were applied, the root file first, as (path, text)."""

    number: int
    root: str
    texts: tuple[tuple[str, str], ...]
