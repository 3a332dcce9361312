"""Conditions: what is true of the server and each model, and since when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from lmrun.errors import LmrunError, ProfileInvalid
from lmrun.reconcile.desired import DesiredModel
from lmrun.reconcile.git.memory import Refusal
from lmrun.reconcile.status import Condition, ConditionStatus, InstanceStatus

ON_DEMAND = "OnDemand"
"""The reason of `Ready` where a model is not loaded and need not be."""


def utc_now() -> str:
    """ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class ConditionBook:
    """Remembers since when each condition has had its status and reason."""

    def __init__(self, now: Callable[[], str] = utc_now) -> None:
        self._now = now
        self._known: dict[tuple[str, str], Condition] = {}

    def note(
        self, owner: str, kind: str, status: ConditionStatus, reason: str, message: str = ""
    ) -> Condition:
        """The condition, dated by the last change of its status or reason."""
        known = self._known.get((owner, kind))
        if known is not None and (known.status, known.reason) == (status, reason):
            since = known.since
        else:
            since = self._now()
        condition = Condition(kind, status, reason, message, since)
        self._known[owner, kind] = condition
        return condition


def reason_of(error: LmrunError) -> str:
    """The CamelCase reason code of an error: its class's name."""
    return type(error).__name__


def profile_valid(book: ConditionBook, problem: LmrunError | None) -> Condition:
    """`ProfileValid`: False while the file as it is now cannot be applied."""
    if problem is None:
        return book.note("", "ProfileValid", "True", "Accepted")
    return book.note("", "ProfileValid", "False", reason_of(problem), str(problem))


def git_synced(book: ConditionBook, refusal: Refusal | None) -> Condition:
    """`GitSynced`: what runs is what the followed ref means."""
    if refusal is None:
        return book.note("", "GitSynced", "True", "Synced")
    return book.note("", "GitSynced", "False", refusal.reason, refusal.message)


def stored(book: ConditionBook, problem: LmrunError | None) -> Condition:
    """`Stored`: what is accepted and done is written down, so that a restart knows of it."""
    if problem is None:
        return book.note("", "Stored", "True", "Stored")
    return book.note("", "Stored", "False", reason_of(problem), str(problem))


def describe_problem(error: LmrunError) -> str:
    """One line for a log: the first problem and how many more there are."""
    if isinstance(error, ProfileInvalid) and len(error.problems) > 1:
        return f"{error.problems[0]} (and {len(error.problems) - 1} more)"
    return str(error)


def available(book: ConditionBook, model: DesiredModel) -> Condition:
    """`Available`: the model's file is here."""
    if model.error is not None:
        return book.note(model.key, "Available", "False", reason_of(model.error), str(model.error))
    if model.spec is None:
        return book.note(model.key, "Available", "False", "NotFetched", model.config.source)
    return book.note(model.key, "Available", "True", "Found", str(model.spec.path))


def up_to_date(
    book: ConditionBook, model: DesiredModel, *, is_changing: bool, failure: LmrunError | None
) -> Condition:
    """`UpToDate`: what answers is the version that the profile declares. An older one goes on
    answering when the new one does not work."""
    if failure is not None:
        return book.note(model.key, "UpToDate", "False", reason_of(failure), str(failure))
    if is_changing:
        return book.note(model.key, "UpToDate", "False", "RollingOut")
    return book.note(model.key, "UpToDate", "True", "UpToDate")


def ready(
    book: ConditionBook,
    model: DesiredModel,
    instance: InstanceStatus | None,
    failure: LmrunError | None,
) -> Condition:
    """`Ready`: its instance answers requests."""
    if instance is not None and instance.state == "ready":
        return book.note(model.key, "Ready", "True", "Ready")
    if model.config.state == "absent":
        return book.note(model.key, "Ready", "False", "DeclaredAbsent")
    if model.error is not None:
        # `Available` tells what is wrong.
        return book.note(model.key, "Ready", "False", "NotAvailable")
    if failure is not None:
        return book.note(model.key, "Ready", "False", reason_of(failure), str(failure))
    if instance is None and model.config.state == "on_demand":
        return book.note(model.key, "Ready", "False", ON_DEMAND, "The first request loads it.")
    if instance is None:
        return book.note(model.key, "Ready", "False", "NotLoaded")
    reason = instance.state.capitalize()
    return book.note(model.key, "Ready", "False", reason, instance.error or "")
