"""Questions of servers that wait for somebody: who is there, whose answer counts, and what is a
form."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from mcp_types import ElicitRequestFormParams

from lmrun.errors import ElicitationNotFound, InvalidParameter, McpProtocol
from lmrun.tools.mcp.answering.elicitation import Elicitor
from lmrun.tools.mcp.answering.elicitations import Elicitations
from lmrun.tools.mcp.answering.forms import Choice, read_form
from lmrun.tools.mcp.answering.questions import Elicitation, Elicited
from lmrun.tools.mcp.reports import ElicitationAsked, ElicitationClosed, ElicitationEvent
from tests.tools.mcp.support import run

SIZE = {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}
QUESTION = Elicitation("shop", "Which size?", schema=SIZE)
LARGE = Elicited("accept", {"size": 44})


async def following(elicitations: Elicitations, seen: list[ElicitationEvent]) -> None:
    """Write down what comes; being cancelled is leaving."""
    with elicitations.following() as events:
        async for event in events:
            seen.append(event)


async def begin(work: Any) -> asyncio.Task[Any]:
    """Started, and as far as it comes by itself."""
    task: asyncio.Task[Any] = asyncio.ensure_future(work)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def leave(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_where_nobody_follows_the_answer_is_no() -> None:
    async def body() -> None:
        assert await Elicitations().ask(QUESTION) == Elicited("decline")

    run(body())


def test_all_who_follow_see_a_question_and_the_first_answer_counts() -> None:
    async def body() -> None:
        elicitations = Elicitations()
        first: list[ElicitationEvent] = []
        second: list[ElicitationEvent] = []
        there = [await begin(following(elicitations, it)) for it in (first, second)]
        asking = await begin(elicitations.ask(QUESTION))
        (asked,) = first
        assert isinstance(asked, ElicitationAsked)
        assert (asked.server, asked.message, asked.schema) == ("shop", "Which size?", SIZE)

        elicitations.answer(asked.id, LARGE)
        with pytest.raises(ElicitationNotFound):
            elicitations.answer(asked.id, Elicited("decline"))
        assert await asking == LARGE
        await asyncio.sleep(0)
        assert first == second == [asked, ElicitationClosed(asked.id)]
        with pytest.raises(ElicitationNotFound, match="No question 'elicit_1' is open"):
            elicitations.answer(asked.id, LARGE)
        await leave(*there)

    run(body())


def test_whoever_comes_later_sees_what_is_still_open() -> None:
    async def body() -> None:
        elicitations = Elicitations()
        late: list[ElicitationEvent] = []
        first = await begin(following(elicitations, []))
        asking = [await begin(elicitations.ask(QUESTION)) for _ in range(2)]
        elicitations.answer("elicit_1", LARGE)
        assert await asking[0] == LARGE
        second = await begin(following(elicitations, late))
        assert [it.id for it in late] == ["elicit_2"]
        elicitations.answer("elicit_2", Elicited("cancel"))
        assert await asking[1] == Elicited("cancel")
        await leave(first, second)

    run(body())


def test_when_the_last_one_leaves_what_is_open_is_declined() -> None:
    async def body() -> None:
        elicitations = Elicitations()
        there = [await begin(following(elicitations, [])) for _ in range(2)]
        asking = [await begin(elicitations.ask(QUESTION)) for _ in range(2)]
        await leave(there[0])
        assert not any(it.done() for it in asking), "somebody is still there"
        await leave(there[1])
        assert await asyncio.gather(*asking) == [Elicited("decline")] * 2
        assert await elicitations.ask(QUESTION) == Elicited("decline")

    run(body())


def test_a_question_that_is_given_up_is_closed() -> None:
    async def body() -> None:
        elicitations = Elicitations()
        seen: list[ElicitationEvent] = []
        there = await begin(following(elicitations, seen))
        await leave(await begin(elicitations.ask(QUESTION)))
        await asyncio.sleep(0)
        assert seen[1:] == [ElicitationClosed("elicit_1")]
        with pytest.raises(ElicitationNotFound):
            elicitations.answer("elicit_1", LARGE)
        await leave(there)

    run(body())


@pytest.mark.parametrize("content", [None, {}, {"size": "large"}, {"size": 1.5}, {"size": None}])
def test_what_is_no_answer_leaves_the_question_open(content: Any) -> None:
    async def body() -> None:
        elicitations = Elicitations()
        there = await begin(following(elicitations, []))
        asking = await begin(elicitations.ask(QUESTION))
        with pytest.raises(InvalidParameter, match="size"):
            elicitations.answer("elicit_1", Elicited("accept", content))
        assert not asking.done()
        elicitations.answer("elicit_1", LARGE)
        assert await asking == LARGE
        await leave(there)

    run(body())


def test_at_the_end_everybody_is_told_and_what_is_open_is_declined() -> None:
    async def body() -> None:
        elicitations = Elicitations()
        seen: list[ElicitationEvent] = []
        there = await begin(following(elicitations, seen))
        asking = await begin(elicitations.ask(QUESTION))
        elicitations.close()
        await there
        assert await asking == Elicited("decline")
        assert [it.id for it in seen] == ["elicit_1"]

    run(body())


# ---- somebody who attends to a run


MINE = Elicitation("shop", "Which size?", schema=SIZE, runs=frozenset({"run_1", "run_2"}))


def test_whoever_attends_to_a_run_is_asked_on_its_behalf_alone() -> None:
    async def body() -> None:
        elicitations = Elicitations()
        seen: list[ElicitationEvent] = []
        with elicitations.attending("run_1", seen.append):
            others = Elicitation("shop", "Which?", schema=SIZE, runs=frozenset({"run_3"}))
            assert await elicitations.ask(QUESTION) == Elicited("decline")
            assert await elicitations.ask(others) == Elicited("decline")
            asking = await begin(elicitations.ask(MINE))
            (asked,) = seen
            elicitations.answer(asked.id, LARGE)
            assert await asking == LARGE
            assert seen[1:] == [ElicitationClosed(asked.id)]
        assert await elicitations.ask(MINE) == Elicited("decline")

    run(body())


def test_a_question_is_declined_when_its_last_run_and_the_last_follower_have_gone() -> None:
    async def body() -> None:
        elicitations = Elicitations()
        there = await begin(following(elicitations, []))
        with elicitations.attending("run_1", lambda it: None):
            with elicitations.attending("run_2", lambda it: None):
                asking = await begin(elicitations.ask(MINE))
                await leave(there)
            await asyncio.sleep(0)
            assert not asking.done(), "run_1 is still attended to"
        assert await asking == Elicited("decline")

    run(body())


def test_an_answer_that_is_wrong_in_several_ways_is_refused_line_by_line() -> None:
    async def body() -> None:
        elicitations = Elicitations()
        there = await begin(following(elicitations, []))
        asking = await begin(elicitations.ask(QUESTION))
        with pytest.raises(InvalidParameter) as refused:
            elicitations.answer("elicit_1", Elicited("accept", {"sise": {"a": {}}}))
        assert refused.value.param == "content.size"
        assert refused.value.message.splitlines() == [
            "This is no answer to the form:",
            "`size` is missing: it must be an integer.",
            "`sise` is no field of the form; did you mean `size`?",
        ]
        await leave(asking, there)

    run(body())


# ---- one server's questions


def form(schema: Any) -> ElicitRequestFormParams:
    return ElicitRequestFormParams(message="Which size?", requested_schema=schema)


def test_a_server_s_questions_come_one_at_a_time() -> None:
    async def body() -> None:
        elicitations = Elicitations()
        seen: list[ElicitationEvent] = []
        there = await begin(following(elicitations, seen))
        elicitor = Elicitor("shop", elicitations.ask)
        asking = [await begin(elicitor.ask(form(SIZE))) for _ in range(3)]
        for number in range(1, 4):
            assert [it.id for it in seen if isinstance(it, ElicitationAsked)][-1] == (
                f"elicit_{number}"
            )
            elicitations.answer(f"elicit_{number}", Elicited("accept", {"size": number}))
            await asking[number - 1]
            await asyncio.sleep(0)
        assert [(await it).content for it in asking] == [{"size": 1}, {"size": 2}, {"size": 3}]
        await leave(there)

    run(body())


def test_nobody_is_waited_for_longer_than_allowed() -> None:
    async def body() -> None:
        elicitations = Elicitations()
        there = await begin(following(elicitations, []))
        elicitor = Elicitor("shop", elicitations.ask, timeout_s=0.05)
        assert (await elicitor.ask(form(SIZE))).action == "cancel"
        with pytest.raises(ElicitationNotFound):
            elicitations.answer("elicit_1", LARGE)
        await leave(there)

    run(body())


NO_FORMS: list[Any] = [
    {},
    {"type": "object"},
    {"type": "array", "properties": {}},
    {"type": "object", "properties": []},
    {"type": "object", "properties": {"a": True}},
    {"type": "object", "properties": {"a": {}}},
    {"type": "object", "properties": {"a": {"type": ["string", "null"]}}},
    {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}},
    {"type": "object", "properties": {"a": {"type": "string", "enum": "abc"}}},
    {"type": "object", "properties": {"a": {"type": "string", "enum": [1]}}},
    {"type": "object", "properties": {"a": {"type": "string", "oneOf": [{"title": "A"}]}}},
    {"type": "object", "properties": {"a": {"type": "string", "description": ["A"]}}},
    {"type": "object", "properties": {"a\u202e": {"type": "string"}}},
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": "a"},
    {"type": "object", "properties": {"a": {"type": "string", "title": "A" * 17_000}}},
]


@pytest.mark.parametrize("schema", NO_FORMS, ids=range(len(NO_FORMS)))
def test_nobody_is_asked_what_is_no_form(schema: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def nobody(question: Elicitation) -> Elicited:
        raise AssertionError(question)

    async def body() -> None:
        assert (await Elicitor("shop", nobody).ask(form(schema))).action == "decline"

    run(body())
    assert "MCP server shop asks somebody: " in caplog.text


def test_a_form_knows_what_may_be_chosen() -> None:
    titled = [{"const": "s", "title": "Small"}, {"const": "m"}]
    read = read_form(
        {
            "type": "object",
            "properties": {
                "plain": {"type": "string", "enum": ["s", "m"]},
                "named": {"type": "string", "enum": ["s", "m"], "enumNames": ["Small"]},
                "titled": {"type": "string", "oneOf": titled},
                "several": {"type": "array", "items": {"type": "string", "enum": ["s", "m"]}},
                "titles": {"type": "array", "items": {"anyOf": titled}},
                "free": {"type": "integer", "minimum": 3},
            },
        }
    )
    plain = (Choice("s"), Choice("m"))
    named = (Choice("s", "Small"), Choice("m"))
    assert [field.choices for field in read.properties.values()] == [
        plain,
        named,
        named,
        plain,
        named,
        (),
    ]
    with pytest.raises(McpProtocol, match="nobody can fill in"):
        read_form({"type": "object", "properties": {"a": {"type": "null"}}})
