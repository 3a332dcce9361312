"""The control API's rows of the route table.

On the HTTP port only what shows. Whatever names a file goes over the unix socket, whose
permissions are its door.
"""

from __future__ import annotations

from lmrun.api.control.handlers import Control, ControlHandlers
from lmrun.api.control.requests import (
    ApplyRequest,
    DownRequest,
    ProfileRequest,
    RollbackRequest,
)
from lmrun.api.routes import Response, Route
from lmrun.errors import (
    GenerationUnknown,
    LockMismatch,
    ProfileInvalid,
    ProfileSuperseded,
    StoreError,
)
from lmrun.reconcile.outcome import ApplyEvent, Plan, RollbackPlan
from lmrun.reconcile.records import History, StoredProfile
from lmrun.reconcile.status import Status

PREFIX = "/lmrun/v1"


def public_routes(control: Control) -> tuple[Route, ...]:
    """Status and its changes."""
    handlers = ControlHandlers(control)
    return (
        Route(
            "GET",
            f"{PREFIX}/status",
            handlers.status,
            "What is: server, profile, models, instances, conditions",
            scope="models",
            responses={200: (Response("The status", Status),)},
        ),
        Route(
            "GET",
            f"{PREFIX}/events",
            handlers.events,
            "The status at every change, as server-sent events",
            scope="models",
            is_endless=True,
            responses={200: (Response("A stream of statuses", Status, "text/event-stream"),)},
        ),
    )


def control_routes(control: Control) -> tuple[Route, ...]:
    """All of it, for the unix socket."""
    handlers = ControlHandlers(control)
    return (
        *public_routes(control),
        Route(
            "POST",
            f"{PREFIX}/validate",
            handlers.validate,
            "Every problem of a profile file",
            request=ProfileRequest,
            responses={200: (Response("The problems, none when it is valid", dict),)},
        ),
        Route(
            "POST",
            f"{PREFIX}/plan",
            handlers.plan,
            "What applying a profile file would do now",
            request=ProfileRequest,
            responses={200: (Response("The plan", Plan),)},
            errors=(ProfileInvalid,),
        ),
        Route(
            "POST",
            f"{PREFIX}/apply",
            handlers.apply,
            "Make a profile file the desired state, and report until everything was tried",
            request=ApplyRequest,
            responses={200: (Response("A stream of events", ApplyEvent, "text/event-stream"),)},
            errors=(ProfileInvalid, ProfileSuperseded, LockMismatch, StoreError),
        ),
        *_history_routes(handlers),
        Route(
            "POST",
            f"{PREFIX}/down",
            handlers.down,
            "Unload everything and end the server",
            request=DownRequest,
            responses={200: (Response("Everything is unloaded", dict),)},
            errors=(StoreError,),
        ),
    )


def _history_routes(handlers: ControlHandlers) -> tuple[Route, ...]:
    """What was applied before, and the way back to it."""
    return (
        Route(
            "GET",
            f"{PREFIX}/history",
            handlers.history,
            "The generations that are kept, each with its plan and what came of it",
            responses={200: (Response("The newest first", History),)},
            errors=(StoreError,),
        ),
        Route(
            "GET",
            f"{PREFIX}/generations/{{number:int}}",
            handlers.generation,
            "The files of a generation as they were applied",
            responses={200: (Response("The root file first", StoredProfile),)},
            errors=(GenerationUnknown, StoreError),
        ),
        Route(
            "POST",
            f"{PREFIX}/rollback/plan",
            handlers.plan_rollback,
            "What going back to a generation would do now",
            request=RollbackRequest,
            responses={200: (Response("The plan", RollbackPlan),)},
            errors=(ProfileInvalid, GenerationUnknown, StoreError),
        ),
        Route(
            "POST",
            f"{PREFIX}/rollback",
            handlers.roll_back,
            "Apply a generation again, and report until everything was tried",
            request=RollbackRequest,
            responses={200: (Response("A stream of events", ApplyEvent, "text/event-stream"),)},
            errors=(ProfileInvalid, ProfileSuperseded, GenerationUnknown, StoreError),
        ),
    )
