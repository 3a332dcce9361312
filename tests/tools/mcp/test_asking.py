"""What servers ask: a model, a person, for directories; as older and as newer revisions do."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lmrun.chat.events import ChatEnd, Event, MessageDelta, Usage
from lmrun.chat.request import Request
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.settings.prediction import PredictionConfig
from lmrun.tools.mcp.answering.questions import Elicitation, Elicited
from lmrun.tools.mcp.host import McpHost
from lmrun.tools.models import Generate
from tests.tools.mcp.support import call, declare, eventually, find, hosting, run

SDK_SERVER = Path(__file__).parents[2] / "support" / "mcp_sdk_server.py"


class OneModel:
    """Answers `42` to everything; each answer takes ten tokens."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Request, PredictionConfig]] = []

    def open(self, model: str) -> AbstractAsyncContextManager[Generate]:
        return self._open(model)

    @asynccontextmanager
    async def _open(self, model: str) -> AsyncIterator[Generate]:
        def generate(request: Request, prediction: PredictionConfig) -> AsyncGenerator[Event, None]:
            self.asked.append((model, request, prediction))
            return self._answer()

        yield generate

    async def _answer(self) -> AsyncGenerator[Event, None]:
        yield MessageDelta("4")
        yield MessageDelta("2")
        yield ChatEnd("eosFound", Usage(prompt_tokens=6, completion_tokens=4))


class Somebody:
    def __init__(self, *answers: Elicited) -> None:
        self.answers = list(answers)
        self.asked: list[Elicitation] = []

    async def __call__(self, question: Elicitation) -> Elicited:
        self.asked.append(question)
        return self.answers.pop(0)


def declare_sdk_server(**fields: Any) -> McpServerConfig:
    command = [sys.executable, "-I", str(SDK_SERVER), "stdio"]
    given = {"command": command, "tools": {"allow": ["*"]}, **fields}
    return McpServerConfig.model_validate(given)


SAMPLING = {"model": "assistant", "max_tokens": 12, "token_budget": 15}


def test_a_declared_model_answers_within_its_budget() -> None:
    async def body() -> None:
        models = OneModel()
        config = declare("asks_a_model", sampling=SAMPLING)
        async with hosting({"s": config}, models=models) as host:
            arguments = {"systemPrompt": "Be brief.", "temperature": 0.5, "maxTokens": 500}
            first = json.loads((await call(host, "s", "poke", **arguments)).text)
            second = json.loads((await call(host, "s", "poke")).text)
            third = json.loads((await call(host, "s", "poke")).text)

            assert first["content"] == {"type": "text", "text": "42"}
            assert (first["model"], first["stopReason"]) == ("assistant", "endTurn")
            assert second["content"]["text"] == "42"
            assert "budget of 15 tokens" in third["message"]
            (model, request, prediction), (_, _, later) = models.asked
            assert [it.role for it in request.messages] == ["system", "user"]
            assert (model, prediction.temperature) == ("assistant", 0.5)
            assert (prediction.max_tokens, later.max_tokens) == (12, 5)
            assert prediction.model_fields_set == {"max_tokens", "temperature"}
            assert host.statuses()["s"].tokens_sampled == 20

    run(body())


def test_a_server_that_ends_itself_has_no_new_budget() -> None:
    async def body() -> None:
        models = OneModel()
        config = declare("asks_a_model_and_ends", sampling=SAMPLING)
        async with hosting({"s": config}, models=models) as host:
            for _ in range(3):
                await call(host, "s", "poke")
                await eventually(lambda: host.statuses()["s"].state == "ready")

            assert len(models.asked) == 2

    run(body())


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"includeContext": "allServers"}, "includeContext"),
        ({"maxTokens": 0}, "maxTokens"),
        ({"temperature": -1}, "a setting cannot be honoured"),
        ({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}, "tools"),
        ({"messages": []}, "empty"),
        (
            {
                "messages": [
                    {"role": "user", "content": {"type": "image", "data": "?", "mimeType": "x"}}
                ]
            },
            "not base64",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused(asked: dict[str, Any], why: str) -> None:
    async def body() -> None:
        models = OneModel()
        async with hosting(
            {"s": declare("asks_a_model", sampling=SAMPLING)}, models=models
        ) as host:
            refusal = json.loads((await call(host, "s", "poke", **asked)).text)

            assert why in refusal["message"]
            assert models.asked == []

    run(body())


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (Elicited("accept", {"size": 42}), {"action": "accept", "content": {"size": 42}}),
        (Elicited("accept", {"size": "large"}), {"action": "cancel"}),
        (Elicited("decline"), {"action": "decline"}),
    ],
)
def test_somebody_answers(answer: Elicited, result: dict[str, Any]) -> None:
    async def body() -> None:
        somebody = Somebody(answer)
        config = declare("asks_somebody", elicitation=True)
        async with hosting({"s": config}, elicit=somebody) as host:
            assert json.loads((await call(host, "s", "poke")).text) == result
            (question,) = somebody.asked
            assert (question.server, question.message) == ("s", "Which size?")
            assert question.schema is not None and question.schema["required"] == ["size"]

    run(body())


def test_where_nobody_is_there_questions_are_declined() -> None:
    async def body() -> None:
        async with hosting({"s": declare("asks_somebody", elicitation=True)}) as host:
            assert json.loads((await call(host, "s", "poke")).text) == {"action": "decline"}

    run(body())


def test_nobody_is_asked_to_fill_in_a_form_that_lacks_a_field_it_requires() -> None:
    async def body() -> None:
        somebody = Somebody()
        config = declare("asks_somebody", elicitation=True)
        async with hosting({"s": config}, elicit=somebody) as host:
            form = {"type": "object", "properties": {}, "required": ["size"]}
            result = await call(host, "s", "poke", requestedSchema=form)

            assert json.loads(result.text) == {"action": "decline"}
            assert somebody.asked == []

    run(body())


@pytest.mark.parametrize(
    "url", ["file:/c:/windows/calc.exe", "http://a$(calc)/", "--config=x", "javascript:alert(1)"]
)
def test_nobody_is_asked_to_open_what_is_no_page(url: str) -> None:
    async def body() -> None:
        somebody = Somebody()
        config = declare("asks_somebody", elicitation=True)
        async with hosting({"s": config}, elicit=somebody) as host:
            asked = {"mode": "url", "url": url, "elicitationId": "1", "requestedSchema": None}
            result = await call(host, "s", "poke", **asked)

            assert json.loads(result.text) == {"action": "decline"}
            assert somebody.asked == []

    run(body())


YES, NO = Elicited("accept"), Elicited("decline")


@pytest.mark.parametrize(
    ("behaviour", "urls", "answers", "asked", "result"),
    [
        ("first", ["https://a.example/"], [YES], 1, (None, "logged in")),
        ("first", ["https://a.example/", "https://b.example/"], [YES, YES], 2, (None, "logged in")),
        ("first", ["https://a.example/", "https://b.example/"], [NO], 1, ("failed", "is needed")),
        ("first", ["javascript:alert(1)"], [], 0, ("failed", "is needed")),
        ("first", [], [], 0, ("failed", "is needed")),
        ("first", ["https://a.example/"] * 17, [], 0, ("failed", "is needed")),
        ("each_time", ["https://a.example/"], [YES], 1, ("failed", "is needed")),
    ],
)
def test_a_call_is_made_again_once_somebody_has_opened_what_it_needs(
    behaviour: str,
    urls: list[str],
    answers: list[Elicited],
    asked: int,
    result: tuple[str | None, str],
) -> None:
    async def body() -> None:
        somebody = Somebody(*answers)
        config = declare(f"wants_a_page_opened_{behaviour}", elicitation=True)
        async with hosting({"s": config}, elicit=somebody) as host:
            had = await call(host, "s", "poke", urls=urls)

            assert (had.error, result[1] in had.text) == (result[0], True), had
            assert [it.url for it in somebody.asked] == urls[:asked]

    run(body())


def test_the_time_that_somebody_takes_is_not_the_call_s() -> None:
    async def slowly(question: Elicitation) -> Elicited:
        await asyncio.sleep(0.8)
        return Elicited("accept", {"size": 1})

    async def body() -> None:
        config = declare("asks_somebody", elicitation=True, timeout="0.5s")
        async with hosting({"s": config}, elicit=slowly) as host:
            assert '"accept"' in (await call(host, "s", "poke")).text

    run(body())


def test_roots_are_told_and_told_again_when_they_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lmrun.mcp.s")

    async def body() -> None:
        before = declare("asks_for_roots", roots=["a", "../b"])
        async with hosting({"s": before}, directory=tmp_path) as host:
            told = json.loads((await call(host, "s", "poke")).text)
            pid = host.statuses()["s"].pid
            await host.adopt({"s": declare("asks_for_roots", roots=["c"])}, {"s": tmp_path})
            await eventually(lambda: f"{(tmp_path / 'c').as_uri()}" in caplog.text)

            assert [root["uri"] for root in told["roots"]] == [
                (tmp_path / "a").as_uri(),
                (tmp_path.parent / "b").as_uri(),
            ]
            assert host.statuses()["s"].pid == pid

    run(body())


def test_the_newest_revision_asks_within_its_answers() -> None:
    async def body() -> None:
        models, somebody = OneModel(), Somebody(Elicited("accept", {"size": 38}))
        config = declare_sdk_server(sampling=SAMPLING, elicitation=True, roots=["."])
        async with hosting({"s": config}, models=models, elicit=somebody) as host:
            ordered = await call(host, "s", "order", item="shoes")
            guessed = await call(host, "s", "guess", question="How many?")
            roots = await call(host, "s", "where")

            assert ordered.text == "shoes in size 38"
            assert somebody.asked[0].message == "Which size of shoes?"
            assert guessed.text == "assistant says 42 (endTurn)"
            assert json.loads(roots.text) == [Path(__file__).parent.as_uri()]
            assert host.statuses()["s"].protocol_version == "2026-07-28"

    run(body())


def test_the_newest_revision_says_when_its_tools_change() -> None:
    async def body() -> None:
        async with hosting({"s": declare_sdk_server()}) as host:
            grow = await find(host, "s", "grow")
            await grow.call({}, lambda progress: None)
            await eventually(
                lambda: "grown" in [it.tool for it in host.statuses()["s"].tools], within_s=5.0
            )

            assert (await call(host, "s", "grown")).text == "grown"

    run(body())


def test_what_is_not_declared_may_not_be_asked_for() -> None:
    async def body() -> None:
        async with hosting({"s": declare_sdk_server()}) as host:
            ordered = await call(host, "s", "order", item="shoes")
            guessed = await call(host, "s", "guess", question="How many?")

            assert (ordered.error, guessed.error) == ("failed", "failed")

    run(body())


def _faults(host: McpHost) -> list[str]:
    tools = host.statuses()["none"].tools
    return [it.fault.message for it in tools if it.fault is not None]


def test_resources_can_be_read_and_prompts_begin_conversations() -> None:
    async def body() -> None:
        config = declare_sdk_server(resources=True, prompts=True, tools={})
        none = declare(resources=True, tools={})
        async with hosting({"s": config, "none": none}) as host:
            assert list(await host.tools("none")) == []
            (resource,) = await host.list_resources("s")
            (prompt,) = await host.list_prompts("s")
            listed = await call(host, "s", "read_resource")
            read = await call(host, "s", "read_resource", uri="note://hello")
            assert _faults(host) == ["The server has no resources."]
            filled = await call(host, "s", "read_resource", uri="note://of/Ada")
            missing = await call(host, "s", "read_resource", uri="note://nothing")
            (message,) = await host.get_prompt("s", "greet", {"name": "Ada"})

            assert (resource.uri, prompt.name) == ("note://hello", "greet")
            assert [(it.name, it.is_required) for it in prompt.arguments] == [("name", True)]
            assert await host.read_resource("s", "note://hello") == "Hello from a note."
            assert listed.text.splitlines() == [
                "note://hello: A note.",
                "Templates, whose braces are to be filled in:",
                "note://of/{name}: A note of somebody's.",
            ]
            assert (read.text, filled.text) == ("Hello from a note.", "A note of Ada.")
            assert missing.error == "failed"
            assert (message.role, message.content) == ("user", "Greet Ada.")

    run(body())


def test_of_many_templates_the_first_are_told_in_a_line_each() -> None:
    async def body() -> None:
        config = declare("templates_alone", resources=True, max_output="64KiB")
        async with hosting({"s": config}) as host:
            lines = (await call(host, "s", "read_resource")).text.splitlines()

            assert lines[0] == "Templates, whose braces are to be filled in:"
            assert len(lines) == 101
            assert lines[1].startswith("a://0/{name}: A line.xxx")
            assert max(map(len, lines)) < 300

    run(body())


def test_what_is_to_be_answered_as_a_task_is_answered_at_once() -> None:
    async def body() -> None:
        config = declare("asks_a_model", sampling=SAMPLING)
        async with hosting({"s": config}, models=OneModel()) as host:
            answer = json.loads((await call(host, "s", "poke", task={"ttl": 60_000})).text)

            assert answer["content"] == {"type": "text", "text": "42"}

    run(body())
