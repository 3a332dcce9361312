"""Runs as they are stored, and as they are shown: from one to the other. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TypeVar, cast

import msgspec

from lmrun.chat.messages import Message, TextPart
from lmrun.errors import BudgetExceeded, LmrunError, RunError
from lmrun.store.runs import StoredRun
from lmrun.tools.act.assignment import Assignment
from lmrun.tools.act.events import ActEnd
from lmrun.tools.act.live import stopped
from lmrun.tools.act.requests import ActRequest, RunDetail, RunFailure, RunState, RunSummary
from lmrun.tools.act.steps import Transcript
from lmrun.tools.policy.gate import Question
from lmrun.tools.tool import Caller

MAX_TASK_CHARACTERS = 200

StructT = TypeVar("StructT")


class Job(msgspec.Struct, frozen=True):
    """What it takes to run it, now or after a restart."""

    assignment: Assignment
    caller: Caller
    approvals: bool
    elicitations: bool = False


class Header(msgspec.Struct, frozen=True):
    """What a list shows of it."""

    model: str
    agent: str | None
    door: str
    key: str | None
    task: str


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """How it ended: with an answer, or why not. Neither: it was cancelled or interrupted."""

    end: ActEnd | None = None
    failure: RunFailure | None = None


_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def encode(record: Job | Header | Outcome) -> bytes:
    """As it is stored."""
    return _encode(record)


def decode(content: bytes, kind: type[StructT]) -> StructT:
    """As it was."""
    return msgspec.msgpack.decode(content, type=kind)


def make_job(id: str, request: ActRequest, assignment: Assignment, caller: Caller) -> Job:
    """The job of the run called `id`."""
    caller = replace(caller, model=assignment.model, agent=assignment.agent, run=id)
    return Job(assignment, caller, request.approvals, request.elicitations)


def make_stored(id: str, request: ActRequest, job: Job, now: float) -> StoredRun:
    """A run that begins."""
    assignment, caller = job.assignment, job.caller
    task = _find_task(request.messages)
    header = Header(assignment.model, assignment.agent, caller.door, caller.key, task)
    return StoredRun(
        id=id,
        owner=caller.key or "",
        idempotency_key=request.idempotency_key,
        digest=digest(request),
        state="running",
        is_background=request.background,
        created=now,
        updated=now,
        header=encode(header),
        outcome=None,
    )


def digest(request: ActRequest) -> str:
    """The same for requests that ask for the same."""
    asked = msgspec.structs.replace(request, idempotency_key=None)
    return hashlib.sha256(_encode(asked)).hexdigest()


def summarize(run: StoredRun, questions: int = 0) -> RunSummary:
    """As a list shows it. `questions`: those that it waits for."""
    header = decode(run.header, Header)
    return RunSummary(
        id=run.id,
        state=cast(RunState, run.state),
        model=header.model,
        agent=header.agent,
        door=header.door,
        key=header.key,
        background=run.is_background,
        created_at=run.created,
        updated_at=run.updated,
        task=header.task,
        questions=questions,
    )


def describe(run: StoredRun, transcript: Transcript, questions: tuple[Question, ...]) -> RunDetail:
    """As it is shown alone."""
    outcome = find_outcome(run)
    return RunDetail(
        summary=summarize(run, len(questions)),
        rounds=len(transcript.rounds),
        calls=transcript.calls,
        usage=transcript.usage,
        messages=transcript.messages,
        text=outcome.end.text if outcome.end is not None else None,
        stop_reason=outcome.end.stop_reason if outcome.end is not None else None,
        failure=outcome.failure,
        questions=questions,
    )


def find_outcome(run: StoredRun) -> Outcome:
    """An empty one for a run that has not ended."""
    return Outcome() if run.outcome is None else decode(run.outcome, Outcome)


def to_failure(error: LmrunError) -> RunFailure:
    """`error` as it is stored."""
    budget = error.budget if isinstance(error, BudgetExceeded) else None
    return RunFailure(error.code, error.message, error.hint, budget)


def to_error(run: StoredRun) -> LmrunError:
    """What its followers get instead of an end."""
    failure = find_outcome(run).failure
    if failure is None:
        return stopped(run.id, "cancelled" if run.state == "cancelled" else "interrupted")
    if failure.budget is not None:
        return BudgetExceeded(failure.message, budget=failure.budget, hint=failure.hint)
    return RunError(failure.message, hint=failure.hint)


def _find_task(messages: tuple[Message, ...]) -> str:
    asked = next((it for it in reversed(messages) if it.role == "user"), messages[-1])
    content = asked.content
    if not isinstance(content, str):
        content = " ".join(part.text for part in content if isinstance(part, TextPart))
    line = " ".join(content.split())
    shown = line[:MAX_TASK_CHARACTERS]
    return shown if shown == line else f"{shown}…"
