"""Calls as tasks, as revision 2025-11-25 has them; and what can be wrong with them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.support.mcp_fake.server import BEHAVIOURS, Json, raw, server, show, tool

TASK = "t-1"
RELATED = {"io.modelcontextprotocol/related-task": {"taskId": TASK}}
OFFERED: Json = {"requests": {"tools": {"call": {}}}, "cancel": {}}
MESSAGE = {"role": "user", "content": {"type": "text", "text": "Hello?"}}
SIZE = {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}


class Tasks:
    """One that is done when it is asked after for the third time."""

    def __init__(self) -> None:
        self.begun: list[Json] = []
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self.interval = 10
        self.status = "working"
        self.on_begin: Callable[[Any, Json], None] = lambda id, params: self.begin(id)
        self.on_get: Callable[[Any], None] = self.get
        self.on_fetch: Callable[[Any], None] = lambda id: server.text(id, "the result")

    def show(self, status: str, **more: Any) -> Json:
        at = "2026-11-29T12:00:00Z"
        task = {"taskId": TASK, "status": status, "createdAt": at, "lastUpdatedAt": at}
        return {**task, "ttl": None, "pollInterval": self.interval, **more}

    def begin(self, id: Any) -> None:
        server.result(id, {"task": self.show(self.status, statusMessage="It has begun")})

    def get(self, id: Any) -> None:
        number = self.asked.count("tasks/get")
        done = self.show("completed") if number >= 3 else None
        server.result(id, done or self.show("working", statusMessage=f"Step {number}"))

    def take(self, method: str, id: Any, params: Json) -> None:
        self.asked.append(method)
        if method == "tasks/cancel":
            self.cancelled.append(params["taskId"])
            server.result(id, self.show("cancelled"))
        else:
            assert params["taskId"] == TASK
            (self.on_get if method == "tasks/get" else self.on_fetch)(id)

    def call(self, id: Any, params: Json) -> None:
        if params["name"] == "history":
            history = {"begun": self.begun, "asked": self.asked, "cancelled": self.cancelled}
            server.text(id, json.dumps(history))
        elif params["name"] == "poke":
            self.begun.append(params)
            self.on_begin(id, params)
        else:
            server.call(id, params)


tasks = Tasks()


def tasked(change: Callable[[], None]) -> Callable[[], None]:
    """A server with tasks; `change` makes a misbehaviour of it."""

    def prepare() -> None:
        server.version = "2025-11-25"
        server.capabilities["tasks"] = OFFERED
        server.tools[1] = tool("poke", execution={"taskSupport": "required"})
        server.tools.append(tool("history"))
        server.methods["tools/call"] = tasks.call
        for method in ("tasks/get", "tasks/result", "tasks/cancel"):
            server.methods[method] = partial(tasks.take, method)
        change()

    BEHAVIOURS[change.__name__] = prepare
    return change


def always(status: str, **more: Any) -> Callable[[Any], None]:
    return lambda id: server.result(id, tasks.show(status, **more))


def refuse(id: Any) -> None:
    server.error(id, {"code": -32602, "message": "Failed to retrieve task: Task not found"})


@tasked
def task_done() -> None:
    pass


@tasked
def task_done_at_once() -> None:
    tasks.status = "completed"


@tasked
def task_answered_plainly() -> None:
    tasks.on_begin = lambda id, params: server.text(id, "no task after all")


@tasked
def task_with_progress() -> None:
    def get(id: Any) -> None:
        token = tasks.begun[-1]["_meta"]["progressToken"]
        count = tasks.asked.count("tasks/get")
        said = {"progressToken": token, "progress": count, "total": 9, "message": f"{count} of 9"}
        server.notify("notifications/progress", said)
        server.result(id, tasks.show("working" if count < 3 else "completed"))

    tasks.on_get = get


def _ask(method: str, asked: Json) -> None:
    """Over whoever waits for the result, and then it is done."""
    tasks.status = "input_required"
    tasks.on_get = always("input_required")

    def fetch(id: Any) -> None:
        def answered(answer: Json) -> None:
            tasks.on_get = always("completed")
            server.text(id, show(answer))

        server.request("q1", method, {**asked, "_meta": RELATED}, answered)

    tasks.on_fetch = fetch


@tasked
def task_asks_somebody() -> None:
    _ask("elicitation/create", {"message": "Which size?", "requestedSchema": SIZE})


@tasked
def task_asks_a_model() -> None:
    _ask("sampling/createMessage", {"messages": [MESSAGE], "maxTokens": 10})


@tasked
def task_without_end() -> None:
    tasks.on_get = always("working", statusMessage="Still at it")


@tasked
def task_to_be_asked_after_at_once() -> None:
    task_without_end()
    tasks.interval = 0


@tasked
def task_to_be_asked_after_in_an_hour() -> None:
    tasks.interval = 3_600_000
    tasks.on_get = always("completed")


@tasked
def task_unknown() -> None:
    tasks.on_get = refuse


@tasked
def task_that_vanishes() -> None:
    first = always("working")
    tasks.on_get = lambda id: (first if len(tasks.asked) < 2 else refuse)(id)


@tasked
def task_whose_result_vanishes() -> None:
    tasks.on_fetch = refuse


@tasked
def task_of_somebody_else() -> None:
    tasks.on_get = always("completed", taskId="t-2")


@tasked
def task_without_a_name() -> None:
    tasks.on_begin = lambda id, params: server.result(id, {"task": {"status": "working"}})


@tasked
def task_in_no_known_state() -> None:
    tasks.on_get = always("asleep")


@tasked
def task_whose_result_never_comes() -> None:
    tasks.on_fetch = lambda id: None


@tasked
def task_whose_result_is_nothing() -> None:
    tasks.on_fetch = lambda id: server.result(id, {})


@tasked
def task_that_never_asks() -> None:
    tasks.status = "input_required"
    tasks.on_get = always("input_required")
    tasks.on_fetch = lambda id: None


@tasked
def task_that_fails() -> None:
    tasks.on_get = always("failed", statusMessage="out of\u202e paper")
    tasks.on_fetch = refuse


@tasked
def task_that_fails_in_words() -> None:
    tasks.on_get = always("failed")
    tasks.on_fetch = lambda id: server.text(id, "There is no paper.")


@tasked
def task_that_fails_without_a_word() -> None:
    tasks.on_get = always("failed")
    tasks.on_fetch = lambda id: server.error(id, {"code": -32603, "message": "jammed"})


@tasked
def task_that_fails_while_it_asks() -> None:
    task_that_fails_without_a_word()
    tasks.status = "input_required"


@tasked
def task_whose_questions_are_lost() -> None:
    tasks.status = "input_required"
    tasks.on_get = always("input_required")
    tasks.on_fetch = refuse


@tasked
def task_that_is_cancelled() -> None:
    tasks.on_get = always("cancelled", statusMessage="The operator said so")


@tasked
def task_that_ends_the_server() -> None:
    tasks.on_get = lambda id: os._exit(3)


@tasked
def task_in_bad_utf8() -> None:
    tasks.on_fetch = lambda id: server.write(raw(id, b'{"content":[{"text":"\xff\xfe"}]}'))


@tasked
def task_with_a_flood_of_news() -> None:
    def get(id: Any) -> None:
        for number in range(1000):
            said = tasks.show("working", statusMessage=f"{number}")
            server.notify("notifications/tasks/status", said)
        tasks.get(id)

    tasks.on_get = get


@tasked
def task_that_cannot_be_cancelled() -> None:
    task_without_end()
    server.capabilities["tasks"] = {"requests": OFFERED["requests"]}


@tasked
def tasks_not_offered() -> None:
    server.capabilities["tasks"] = {"list": {}, "cancel": {}}


@tasked
def tasks_before_their_time() -> None:
    server.version = "2025-06-18"
