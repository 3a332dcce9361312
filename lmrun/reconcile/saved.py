"""Whether a plan that was saved still says what would happen. Pure: it reads no file.

Prices may have moved; what is done, why, and out of which files and which state may not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from lmrun.errors import ProfileSuperseded
from lmrun.profile.loader import LoadedProfile
from lmrun.reconcile.outcome import Action, FieldChange, FileDigest, Plan

_MOST_SHOWN = 10


def digest_files(loaded: LoadedProfile) -> tuple[FileDigest, ...]:
    """What a plan is made of: every text that the profile consists of."""
    return tuple(
        FileDigest(str(it.path), hashlib.sha256(it.text.encode("utf-8", "replace")).hexdigest())
        for it in loaded.texts
    )


def require_unmoved(saved: Plan, now: Plan) -> None:
    """Raises ProfileSuperseded, which names what is not as it was when the plan was saved."""
    moves = list(find_moves(saved, now))
    if not moves:
        return
    shown = moves[:_MOST_SHOWN]
    if len(moves) > len(shown):
        shown.append(f"{len(moves) - len(shown)} more")
    raise ProfileSuperseded(
        f"The saved plan does not hold any more: {'; '.join(shown)}.",
        hint="Plan again, and look at that.",
    )


def find_moves(saved: Plan, now: Plan) -> Iterator[str]:
    """Every difference, as the end of a sentence: the files, the generation, then the actions."""
    yield from _moved_files(saved, now)
    if saved.base_generation != now.base_generation:
        yield (
            f"it was made against generation {saved.base_generation}, "
            f"and {now.base_generation} is applied"
        )
    before, after = _by_target(saved), _by_target(now)
    for key in before.keys() - after.keys():
        yield f"{_name(before[key])} is no longer needed"
    for key in after.keys() - before.keys():
        yield f"{_name(after[key])} would come along"
    for key in sorted(before.keys() & after.keys()):
        yield from _moved_action(before[key], after[key])


def _moved_files(saved: Plan, now: Plan) -> Iterator[str]:
    before = {file.path: file.sha256 for file in saved.files}
    after = {file.path: file.sha256 for file in now.files}
    for path in sorted(before.keys() | after.keys()):
        if path not in after:
            yield f"{path} is no part of the profile any more"
        elif path not in before:
            yield f"{path} is a new part of the profile"
        elif before[path] != after[path]:
            yield f"{path} has changed"


def _by_target(plan: Plan) -> Mapping[tuple[str, str], Action]:
    return {(action.kind, action.target): action for action in plan.actions}


def _name(action: Action) -> str:
    return f"{action.kind} of {action.target}"


def _moved_action(saved: Action, now: Action) -> Iterator[str]:
    if saved.rollout != now.rollout:
        yield f"{_name(now)} would be done by {now.rollout} instead of {saved.rollout}"
    before = {change.field: change for change in saved.changes}
    after = {change.field: change for change in now.changes}
    for field in sorted(before.keys() | after.keys()):
        if before.get(field) != after.get(field):
            yield _moved_field(field, before.get(field), after.get(field))


def _moved_field(field: str, saved: FieldChange | None, now: FieldChange | None) -> str:
    if now is None:
        return f"{field} is as the profile says by now"
    if saved is None:
        return f"{field} is {_show(now.old)} now, and would become {_show(now.new)}"
    if saved.old != now.old:
        return f"{field} was {_show(saved.old)} and is {_show(now.old)}"
    return f"{field} would become {_show(now.new)} instead of {_show(saved.new)}"


def _show(value: str | None) -> str:
    return "unset" if value is None else value
