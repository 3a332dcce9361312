"""Plans in files: `lmrun plan --out FILE` writes one, `lmrun apply FILE` takes it.

It decides nothing: whether a plan still holds is for the server to say.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from lmrun import __version__
from lmrun.errors import LmrunError
from lmrun.reconcile.outcome import Plan
from lmrun.store.atomic import write_atomic

FORMAT = 1
_MARK = b'"lmrun_plan"'
_LOOKED_AT = 200
MAX_PLAN_BYTES = 16 * 2**20


class SavedPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plan and what it is a plan of. `lmrun_plan`: the version of this format. `profile`: its
    file, absolute; `created`: ISO 8601 in UTC."""

    lmrun_plan: int
    lmrun: str
    created: str
    profile: str
    plan: Plan


def save_plan(plan: Plan, profile: Path, out: Path) -> None:
    """Write a plan for later, for this user only: it shows values of the profile. Raises
    StoreError."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    saved = SavedPlan(FORMAT, __version__, created, str(profile), plan)
    write_atomic(out, msgspec.json.format(msgspec.json.encode(saved), indent=2) + b"\n")


def read_saved_plan(path: Path) -> SavedPlan | None:
    """The plan in a file; None for a file that is something else, such as a profile.

    Raises LmrunError for a saved plan that this version cannot read.
    """
    try:
        with open(path, "rb") as file:
            if _MARK not in file.read(_LOOKED_AT):
                return None
            file.seek(0)
            data = file.read(MAX_PLAN_BYTES)
    except OSError:
        # Whoever reads it as a profile says what is wrong.
        return None
    try:
        saved = msgspec.json.decode(data, type=SavedPlan)
    except msgspec.MsgspecError as error:
        raise LmrunError(
            f"{path} is no saved plan that this lmrun can read: {error}.", hint="Plan again."
        ) from None
    if saved.lmrun_plan != FORMAT:
        raise LmrunError(
            f"{path} is a saved plan of format {saved.lmrun_plan}; this lmrun reads {FORMAT}.",
            hint="Plan again with the same lmrun that applies it.",
        )
    return saved
