"""Whoever observes the pool sees every generation from its beginning to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from lmrun.chat.events import ChatEnd, Event, MessageDelta, PromptText, WorkerEvent
from lmrun.chat.messages import RawPrompt
from lmrun.errors import EngineCrashed, EngineError
from lmrun.runtime.observing import TAIL_CHARACTERS
from lmrun.runtime.pool import Pool
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.prediction import PredictionConfig
from tests.support.instances import ENDLESS, ask, make_spec, open_pool, script, text_of, user

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
THINKING = TEMPLATE + "{# <think></think> #}{% if enable_thinking %}<think>{% endif %}"
SCRIPT = script(
    {"match": "endless", **ENDLESS},
    {"match": "crash", "pieces": ["a", "b"], "crash": {"signal": 9, "after": 1}},
    {"match": "fail", "pieces": ["a", "b"], "fail": {"after": 1, "message": "It cannot go on."}},
    {"pieces": ["Hel", "lo"]},
    chat_template=TEMPLATE,
)


class Seen:
    """One generation as an observer saw it."""

    def __init__(self, model: str, with_prompt: bool) -> None:
        self.model = model
        self.with_prompt = with_prompt
        self.events: list[WorkerEvent] = []
        self.ends: list[BaseException | None] = []

    def note(self, event: WorkerEvent) -> None:
        self.events.append(event)

    def end(self, error: BaseException | None) -> None:
        self.ends.append(error)

    @property
    def prompts(self) -> list[str]:
        return [it.text for it in self.events if isinstance(it, PromptText) and it.is_whole]

    @property
    def text(self) -> str:
        return "".join(it.text for it in self.events if isinstance(it, MessageDelta))


class Watcher:
    """Keeps all it is told."""

    def __init__(self, *, wants_prompts: bool = False) -> None:
        self.wants_prompts = wants_prompts
        self.seen: list[Seen] = []
        self.inputs: list[tuple[str, int]] = []

    def begin(self, spec: InstanceSpec, *, with_prompt: bool) -> Seen:
        self.seen.append(Seen(spec.identifier, with_prompt))
        return self.seen[-1]

    def count_input(self, spec: InstanceSpec, prompt_tokens: int) -> None:
        self.inputs.append((spec.identifier, prompt_tokens))


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(body, 30))


def test_an_observer_sees_what_the_worker_wrote_and_how_it_ended(tmp_path: Path) -> None:
    async def body() -> None:
        watcher = Watcher()
        async with open_pool(make_spec(tmp_path, SCRIPT), observer=watcher) as pool:
            events = await ask(pool, "m", user("hi"))
        (seen,) = watcher.seen
        assert (seen.model, seen.text, seen.ends) == ("m", "Hello", [None])
        assert seen.events[-1] == events[-1]
        assert isinstance(events[-1], ChatEnd)

    run(body())


def test_prompts_are_reported_only_while_they_are_wanted(tmp_path: Path) -> None:
    async def body() -> None:
        watcher = Watcher()
        async with open_pool(make_spec(tmp_path, SCRIPT), observer=watcher) as pool:
            await ask(pool, "m", user("one"))
            watcher.wants_prompts = True
            await ask(pool, "m", user("two"))
            await ask(pool, "m", RawPrompt("three"))
            watcher.wants_prompts = False
            await ask(pool, "m", RawPrompt("four"))
        assert [seen.with_prompt for seen in watcher.seen] == [False, True, True, False]
        assert [seen.prompts for seen in watcher.seen] == [[], ["user: two\n"], ["three"], []]

    run(body())


def test_wanting_prompts_changes_nothing_in_the_answer(tmp_path: Path) -> None:
    """Reading an answer looks at its prompt's end, which a whole prompt has, too."""
    content = script({"pieces": ["I ", "wonder", "</think>", "Yes."]}, chat_template=THINKING)
    long = "<think> " * 200

    async def body() -> None:
        answers = []
        for wants_prompts in (False, True):
            watcher = Watcher(wants_prompts=wants_prompts)
            async with open_pool(make_spec(tmp_path, content), observer=watcher) as pool:
                answers.append(without_progress(await ask(pool, "m", user(long))))
            (seen,) = watcher.seen
            assert [len(it) > TAIL_CHARACTERS for it in seen.prompts] == [True] * wants_prompts
        assert answers[0] == answers[1]

    run(body())


def without_progress(events: list[Event]) -> list[Event]:
    return [event for event in events if not hasattr(event, "processed")]


@pytest.mark.parametrize(("prompt", "kind"), [("crash", EngineCrashed), ("fail", EngineError)])
def test_a_failure_is_what_it_ends_with(tmp_path: Path, prompt: str, kind: type[Exception]) -> None:
    async def body() -> None:
        watcher = Watcher()
        async with open_pool(make_spec(tmp_path, SCRIPT), observer=watcher) as pool:
            with pytest.raises(kind):
                await ask(pool, "m", user(prompt))
        (seen,) = watcher.seen
        (error,) = seen.ends
        assert isinstance(error, kind)

    run(body())


async def leave_after_one(pool: Pool) -> None:
    async with pool.acquire("m") as lease:
        events = lease.generate(user("endless"), PredictionConfig())
        async with aclosing(events):
            async for event in events:
                if isinstance(event, MessageDelta):
                    return


def test_a_reader_who_leaves_is_no_failure(tmp_path: Path) -> None:
    async def body() -> None:
        watcher = Watcher()
        async with open_pool(make_spec(tmp_path, SCRIPT), observer=watcher) as pool:
            await leave_after_one(pool)
            task = asyncio.create_task(ask(pool, "m", user("endless")))
            while len(watcher.seen) < 2 or not watcher.seen[1].text:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert [seen.ends for seen in watcher.seen] == [[None], [None]]
        assert not any(isinstance(seen.events[-1], ChatEnd) for seen in watcher.seen)

    run(body())


def test_a_generation_that_nobody_reads_never_begins(tmp_path: Path) -> None:
    async def body() -> None:
        watcher = Watcher()
        async with open_pool(make_spec(tmp_path, SCRIPT), observer=watcher) as pool:
            async with pool.acquire("m") as lease:
                await lease.generate(user("hi"), PredictionConfig()).aclose()
            assert watcher.seen == []
            assert text_of(await ask(pool, "m", user("hi"))) == "Hello"

    run(body())
