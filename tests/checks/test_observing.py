"""What is asked for a check, and in which company."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lmrun.checks.observing import observe, observe_all
from lmrun.checks.values import CheckObserved, ChecksEnded, CheckStarted, Question, Reply
from lmrun.errors import EngineCrashed, LmrunError, QueueFull
from tests.checks.values import check, expecting, reply

CHECKED = "Capital of France?"


class StandInModel:
    """Answers the check's question at once; other questions last until they are cancelled."""

    def __init__(
        self,
        failure: LmrunError | None = None,
        load: LmrunError | None = None,
        room: int = 100,
    ) -> None:
        self._failure = failure
        self._room = room
        self._load = load
        self.busy = 0
        self.beside: list[int] = []

    async def __call__(
        self, question: Question, on_first: Callable[[], None] = lambda: None
    ) -> Reply:
        if self.busy == self._room:
            raise QueueFull("full")
        if question.prompt.messages[0].content == CHECKED:
            await asyncio.sleep(0)
            self.beside.append(self.busy)
            if self._failure is not None:
                raise self._failure
            return reply()
        self.busy += 1
        try:
            on_first()
            if self._load is not None:
                raise self._load
            await asyncio.Event().wait()
            return reply()
        finally:
            self.busy -= 1


def test_a_check_asks_once() -> None:
    ask = StandInModel()
    observation = asyncio.run(observe(expecting(contains="x"), ask))
    assert ask.beside == [0]
    assert (observation.reply, observation.again, observation.beside_others) == (
        reply(),
        None,
        None,
    )


def test_a_relation_asks_again_and_beside_others() -> None:
    ask = StandInModel()
    observation = asyncio.run(observe(expecting(same_twice=True, same_under_load=3), ask))
    assert ask.beside == [0, 0, 3]
    assert observation.again == observation.beside_others == reply()
    assert ask.busy == 0, "nothing goes on afterwards"


def test_a_model_whose_queue_is_full_is_busy_enough() -> None:
    ask = StandInModel(load=QueueFull("full"))
    observation = asyncio.run(observe(expecting(same_under_load=2), ask))
    assert observation.beside_others == reply()
    assert ask.busy == 0


def test_where_the_queue_does_not_hold_all_the_others_some_leave_for_the_check() -> None:
    ask = StandInModel(room=2)
    observation = asyncio.run(observe(expecting(same_under_load=5), ask))
    assert observation.beside_others == reply()
    assert ask.beside == [0, 1]
    assert ask.busy == 0


def test_what_ends_the_others_is_the_check_s_error() -> None:
    ask = StandInModel(load=EngineCrashed("The worker died."))
    observation = asyncio.run(observe(expecting(same_under_load=2), ask))
    assert observation.error == "The worker died."
    assert ask.busy == 0


def test_a_refused_question_is_an_error_and_the_next_check_is_asked() -> None:
    async def collect() -> list[object]:
        ask = StandInModel(failure=LmrunError("No.", hint="Ask another one."))
        checks = {"a": expecting(contains="x"), "b": expecting(contains="x")}
        return [event async for event in observe_all(checks, ask)]

    first, a, second, b, end = asyncio.run(collect())
    assert (first, second, end) == (CheckStarted("a"), CheckStarted("b"), ChecksEnded())
    for event in (a, b):
        assert isinstance(event, CheckObserved)
        assert event.observation.error == "No. Ask another one."


def test_an_answer_that_does_not_come_in_time_is_an_error() -> None:
    slow = check(prompt="Others.", timeout="20ms", expect={"contains": "x"})
    ask = StandInModel()
    observation = asyncio.run(observe(slow, ask))
    assert observation.error == "No whole answer came within 0.02 s."
    assert ask.busy == 0
