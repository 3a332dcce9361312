"""The rows of the table about runs, for the port and for the unix socket alike."""

from __future__ import annotations

from lmrun.api.act.bodies import (
    ActBody,
    ApproveBody,
    Approved,
    CancelBody,
    ResumeBody,
)
from lmrun.api.act.handlers import ActHandlers
from lmrun.api.routes import Response, Route
from lmrun.api.serving import GENERATION_ERRORS, STORE_ERRORS
from lmrun.errors import (
    BudgetExceeded,
    Forbidden,
    InvalidParameter,
    LmrunError,
    RunConflict,
    RunError,
    RunNotFound,
)
from lmrun.tools.act.requests import RunDetail, RunSummary
from lmrun.tools.act.runs import Runs
from lmrun.tools.act.stream import RunEvent, RunList

PREFIX = "/lmrun/v1/act"

_SSE = "text/event-stream"
_LOOKING_ERRORS: tuple[type[LmrunError], ...] = (RunNotFound, *STORE_ERRORS)
_RUNNING_ERRORS: tuple[type[LmrunError], ...] = (
    *GENERATION_ERRORS,
    *STORE_ERRORS,
    BudgetExceeded,
    Forbidden,
    InvalidParameter,
    RunConflict,
    RunError,
)
_STREAM = Response("its events with `stream: true`", RunEvent, _SSE)


def make_act_routes(runs: Runs) -> tuple[Route, ...]:
    """All of them, answering from `runs`."""
    handlers = ActHandlers(runs)
    return (
        Route(
            "POST",
            PREFIX,
            handlers.start,
            "Have a model do a task with tools of the profile, in as many rounds as it takes; its "
            "key must grant `inference`, too",
            scope="tools",
            request=ActBody,
            responses={
                200: (Response("The run when it is done", RunDetail), _STREAM),
                202: (Response("The run as it begins, with `background: true`", RunDetail),),
            },
            errors=_RUNNING_ERRORS,
        ),
        *_make_reading_routes(handlers),
        *_make_changing_routes(handlers),
    )


def _make_reading_routes(handlers: ActHandlers) -> tuple[Route, ...]:
    return (
        Route(
            "GET",
            PREFIX,
            handlers.list,
            "The runs that are kept; of others' keys only with the scope `admin`",
            scope="tools",
            query=("state", "limit"),
            responses={200: (Response("The newest first", RunList),)},
            errors=STORE_ERRORS,
        ),
        Route(
            "GET",
            f"{PREFIX}/{{id}}",
            handlers.get,
            "One run, its conversation and its open questions included",
            scope="tools",
            responses={200: (Response("The run", RunDetail),)},
            errors=_LOOKING_ERRORS,
        ),
        Route(
            "GET",
            f"{PREFIX}/{{id}}/events",
            handlers.follow,
            "The events of a run from its first one, until it ends",
            scope="tools",
            responses={200: (Response("A stream of events", RunEvent, _SSE),)},
            errors=(*_LOOKING_ERRORS, *_RUNNING_ERRORS),
        ),
    )


def _make_changing_routes(handlers: ActHandlers) -> tuple[Route, ...]:
    return (
        Route(
            "POST",
            f"{PREFIX}/{{id}}/cancel",
            handlers.cancel,
            "Stop a run, its model and its tools",
            scope="tools",
            request=CancelBody,
            responses={200: (Response("It is stopped", RunSummary),)},
            errors=(*_LOOKING_ERRORS, RunConflict),
        ),
        Route(
            "POST",
            f"{PREFIX}/{{id}}/resume",
            handlers.resume,
            "Go on with a run that was interrupted or failed; no finished call is made again",
            scope="tools",
            request=ResumeBody,
            responses={
                200: (Response("The run when it is done", RunDetail), _STREAM),
                202: (Response("The run as it goes on, in the background", RunDetail),),
            },
            errors=(RunNotFound, *_RUNNING_ERRORS),
        ),
        Route(
            "POST",
            f"{PREFIX}/{{id}}/approve",
            handlers.approve,
            "Answer the question whether a tool may be called",
            scope="tools",
            request=ApproveBody,
            responses={200: (Response("The reply has reached the run", Approved),)},
            errors=(*_LOOKING_ERRORS, Forbidden, RunConflict),
        ),
    )
