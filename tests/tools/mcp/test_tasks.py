"""Tools that are only done as tasks: begun, asked after, fetched, given up; and whatever a server
does about it, the call has a result in time."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from lmrun.tools.mcp.answering.questions import Elicitation, Elicited
from lmrun.tools.mcp.host import McpHost
from lmrun.tools.mcp.server import MAX_SILENT_CALLS
from lmrun.tools.mcp.tasks import poll_delay_s
from lmrun.tools.tool import ErrorKind
from tests.tools.mcp.support import (
    call,
    call_with_progress,
    declare,
    find,
    hosting,
    run,
)
from tests.tools.mcp.test_asking import SAMPLING, OneModel
from tests.tools.mcp.test_remote import FakeRemote, Handler, remote

Json = dict[str, Any]

SHORT_S, LONG_S = 0.6, 30.0
"""The timeout of calls that use it up, and of those that do not."""
SLACK_S = 4.0
"""Beyond a call's timeout, on a machine with other things to do."""
RELATED = {"io.modelcontextprotocol/related-task": {"taskId": "t-1"}}

CALLS: list[tuple[str, ErrorKind | None, str]] = [
    ("task_done", None, "the result"),
    ("task_done_at_once", None, "the result"),
    ("task_answered_plainly", None, "no task after all"),
    ("task_with_a_flood_of_news", None, "the result"),
    ("task_without_end", "timeout", "within 0.6 s"),
    ("task_to_be_asked_after_at_once", "timeout", "within 0.6 s"),
    ("task_to_be_asked_after_in_an_hour", None, "the result"),
    ("task_unknown", "protocol", "Task not found. What has become of it is not known"),
    ("task_that_vanishes", "protocol", "Task not found. What has become of it is not known"),
    ("task_whose_result_vanishes", "protocol", "What has become of it is not known"),
    ("task_of_somebody_else", "protocol", "answers about another"),
    ("task_without_a_name", "protocol", "taskId"),
    ("task_in_no_known_state", "protocol", "status"),
    ("task_whose_result_never_comes", "timeout", "within 0.6 s"),
    ("task_whose_result_is_nothing", "protocol", "content"),
    ("task_that_never_asks", "timeout", "within 0.6 s"),
    ("task_that_fails", "failed", "The task has failed: out of paper"),
    ("task_that_fails_in_words", "failed", "There is no paper."),
    ("task_that_fails_without_a_word", "failed", "The task has failed: jammed"),
    ("task_that_fails_while_it_asks", "failed", "The task has failed: jammed"),
    ("task_whose_questions_are_lost", "protocol", "What has become of it is not known"),
    ("task_that_is_cancelled", "failed", "cancelled the task: The operator said so"),
    ("task_that_ends_the_server", "crashed", "exit code 3"),
    ("task_in_bad_utf8", "protocol", "no JSON"),
]


@pytest.mark.parametrize(("behaviour", "error", "text"), CALLS, ids=[it[0] for it in CALLS])
def test_a_task_has_a_result_in_time(behaviour: str, error: ErrorKind | None, text: str) -> None:
    async def body() -> None:
        timeout_s = SHORT_S if error == "timeout" else LONG_S
        if "asked_after_in" in behaviour:
            timeout_s = 5.0
        bad = declare(behaviour, timeout=f"{timeout_s}s")
        async with hosting({"bad": bad, "good": declare()}) as host:
            poke = await find(host, "bad", "poke")
            await call(host, "good", "echo", text="warm up")
            began = time.monotonic()
            result, good = await asyncio.gather(
                poke.call({}, lambda progress: None), call(host, "good", "echo", text="fine")
            )

            assert (result.error, text in result.text) == (error, True), result
            assert time.monotonic() - began < timeout_s + SLACK_S
            assert good.text == "fine"

    run(body())


def test_a_task_is_begun_once_asked_after_and_fetched_once() -> None:
    async def body() -> None:
        async with hosting({"s": declare("task_done", timeout="7s")}) as host:
            poke = await find(host, "s", "poke")
            result, seen = await call_with_progress(poke, text="hello")
            history = await history_of(host)

            assert result.text == "the result"
            assert [it.message for it in seen] == ["It has begun", "Step 1", "Step 2"]
            (begun,) = history["begun"]
            assert begun["arguments"] == {"text": "hello"}
            assert begun["task"] == {"ttl": 607_000}
            assert history["asked"] == ["tasks/get"] * 3 + ["tasks/result"]
            assert history["cancelled"] == []

    run(body())


def test_progress_of_a_task_is_told_beyond_its_beginning() -> None:
    async def body() -> None:
        async with hosting({"s": declare("task_with_progress")}) as host:
            result, seen = await call_with_progress(await find(host, "s", "poke"))

            assert result.text == "the result"
            told = [(it.progress, it.total, it.message) for it in seen]
            assert told[:1] == [(0.0, None, "It has begun")]
            assert [it for it in told if it[1] is not None][:2] == [
                (1.0, 9.0, "1 of 9"),
                (2.0, 9.0, "2 of 9"),
            ]

    run(body())


def test_somebody_answers_within_a_task_and_in_their_own_time() -> None:
    asked: list[Elicitation] = []

    async def slowly(question: Elicitation) -> Elicited:
        asked.append(question)
        await asyncio.sleep(1.2)
        return Elicited("accept", {"size": 42})

    async def body() -> None:
        config = declare("task_asks_somebody", elicitation=True, timeout="1s")
        async with hosting({"s": config}, elicit=slowly) as host:
            result, seen = await call_with_progress(await find(host, "s", "poke"))

            assert json.loads(result.text) == {
                "action": "accept",
                "content": {"size": 42},
                "_meta": RELATED,
            }
            assert [it.message for it in asked] == ["Which size?"]
            assert "It has begun" in [it.message for it in seen]

    run(body())


def test_a_model_answers_within_a_task() -> None:
    async def body() -> None:
        config = declare("task_asks_a_model", sampling=SAMPLING)
        async with hosting({"s": config}, models=OneModel()) as host:
            answer = json.loads((await call(host, "s", "poke")).text)

            assert answer["content"] == {"type": "text", "text": "42"}
            assert answer["_meta"] == RELATED

    run(body())


@pytest.mark.parametrize(
    ("behaviour", "cancelled"),
    [("task_without_end", ["t-1"]), ("task_that_cannot_be_cancelled", [])],
)
def test_a_task_that_takes_too_long_is_cancelled_where_that_is_possible(
    behaviour: str, cancelled: list[str]
) -> None:
    async def body() -> None:
        async with hosting({"s": declare(behaviour, timeout="0.5s")}) as host:
            result = await call(host, "s", "poke")
            # Answered in their order: whatever was sent before has arrived by then.
            await call(host, "s", "echo", text="hello")

            assert result.error == "timeout"
            assert (await history_of(host))["cancelled"] == cancelled

    run(body())


def test_whoever_cancels_a_call_cancels_its_task() -> None:
    async def body() -> None:
        async with hosting({"s": declare("task_without_end")}) as host:
            poke = await find(host, "s", "poke")
            calling = asyncio.create_task(poke.call({}, lambda progress: None))
            while "tasks/get" not in (await history_of(host))["asked"]:
                await asyncio.sleep(0.02)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            async with asyncio.timeout(5):
                while not (history := await history_of(host))["cancelled"]:
                    await asyncio.sleep(0.02)

            assert history["cancelled"] == ["t-1"]
            assert history["asked"][-1] == "tasks/cancel"

    run(body())


def test_a_server_whose_tasks_take_too_long_is_not_taken_for_silent() -> None:
    async def body() -> None:
        config = declare("task_to_be_asked_after_at_once", timeout="0.8s")
        async with hosting({"s": config}) as host:
            results = [await call(host, "s", "poke") for _ in range(MAX_SILENT_CALLS)]
            polls = (await history_of(host))["asked"].count("tasks/get")

            assert [it.error for it in results] == ["timeout"] * MAX_SILENT_CALLS
            assert host.statuses()["s"].restarts == 0
            assert 0 < polls <= 8 * MAX_SILENT_CALLS, "no oftener than ten times a second"

    run(body())


@pytest.mark.parametrize("behaviour", ["tasks_not_offered", "tasks_before_their_time"])
def test_a_tool_that_needs_a_task_is_not_offered_by_a_server_without_any(behaviour: str) -> None:
    async def body() -> None:
        async with hosting({"s": declare(behaviour)}) as host:
            assert {it.spec.name for it in await host.tools("s")} == {"s__echo", "s__history"}
            faults = {it.tool: it.fault for it in host.statuses()["s"].tools if it.fault}

            assert {tool: fault.kind for tool, fault in faults.items()} == {"poke": "unsupported"}

    run(body())


def test_a_task_of_a_forgotten_session_is_not_begun_again() -> None:
    begun: list[Json] = []

    def initialize(handler: Handler, message: Json) -> None:
        handler.remote.sessions.add("one")
        result = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}, "tasks": {"requests": {"tools": {"call": {}}}}},
            "serverInfo": {"name": "fake", "version": "1"},
        }
        reply(handler, message, result, {"Mcp-Session-Id": "one"})

    def list_tools(handler: Handler, message: Json) -> None:
        execution = {"taskSupport": "required"}
        tool = {"name": "poke", "inputSchema": {"type": "object"}, "execution": execution}
        reply(handler, message, {"tools": [tool]}, {})

    def begin(handler: Handler, message: Json) -> None:
        begun.append(message)
        at = "2026-11-29T12:00:00Z"
        task = {"taskId": "t", "status": "working", "createdAt": at, "lastUpdatedAt": at}
        reply(handler, message, {"task": {**task, "ttl": None, "pollInterval": 10}}, {})

    async def body() -> None:
        with FakeRemote() as fake:
            fake.answers |= {
                "initialize": initialize,
                "tools/list": list_tools,
                "tools/call": begin,
                "tasks/get": lambda handler, message: handler.reply(404, b"", {}),
            }
            async with hosting({"s": remote(fake.url)}) as host:
                result = await call(host, "s", "poke")

                assert (result.error, len(begun)) == ("protocol", 1), result
                assert "What has become of it is not known" in result.text

    run(body())


def reply(handler: Handler, message: Json, result: Json, headers: dict[str, str]) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
    handler.reply(200, body, {"Content-Type": "application/json", **headers})


@pytest.mark.parametrize(
    ("asked_ms", "timeout_s", "delay_s"),
    [
        (None, 30.0, 1.0),
        (500, 30.0, 0.5),
        (0, 30.0, 0.1),
        (-(10**400), 30.0, 0.1),
        (60_000, 30.0, 3.0),
        (60_000, 3600.0, 60.0),
        (10**400, 3600.0, 360.0),
        (3_600_000, 2.0, 1.0),
    ],
)
def test_a_server_is_asked_as_often_as_it_likes_within_reason(
    asked_ms: int | None, timeout_s: float, delay_s: float
) -> None:
    assert poll_delay_s(asked_ms, timeout_s) == delay_s


async def history_of(host: McpHost) -> Json:
    """What the server was asked."""
    history: Json = json.loads((await call(host, "s", "history")).text)
    return history
