"""Tokens, texts and rendered prompts through a pool, from real workers."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import aclosing
from pathlib import Path

import pytest

from lmrun.chat.messages import RawPrompt, TokenPrompt, Tool
from lmrun.chat.request import Request, ToolChoice
from lmrun.errors import (
    EngineCrashed,
    EngineError,
    InvalidParameter,
    ModelNotReady,
    TemplateFailed,
)
from lmrun.runtime.answers.replies import ReplyStream
from lmrun.runtime.pool import Pool
from lmrun.settings.prediction import PredictionConfig
from lmrun.worker.frames import Detokenized, Rendered
from tests.support.instances import (
    ENDLESS,
    ask,
    end_of,
    eventually,
    make_spec,
    open_pool,
    script,
    text_of,
    user,
)

TEMPLATE = (
    "{% for t in tools or [] %}{{ t.function.name }} {% endfor %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
)
SCRIPT = script({"match": "endless", **ENDLESS}, {"pieces": ["a"]}, chat_template=TEMPLATE)


def test_a_request_is_rendered_as_it_would_be_generated(tmp_path: Path) -> None:
    async def body() -> None:
        spec = make_spec(tmp_path, SCRIPT, system_prompt="Be brief.")
        async with open_pool(spec) as pool, pool.acquire("m") as lease:
            rendered = await lease.render(user("hi"))
            assert rendered.text == "system: Be brief.\nuser: hi\n"
            assert rendered.tokens == len(rendered.text) == await lease.count_tokens(user("hi"))
            end = end_of(await ask(pool, "m", user("hi"), max_tokens=1))
            assert end.usage.prompt_tokens == rendered.tokens

    asyncio.run(body())


def test_tools_count(tmp_path: Path) -> None:
    async def body() -> None:
        async with open_pool(make_spec(tmp_path, SCRIPT)) as pool, pool.acquire("m") as lease:
            choice = ToolChoice("none")
            request = Request(user("hi").messages, (Tool("weather"),), choice)
            events = [event async for event in lease.generate(request, PredictionConfig())]
            assert await lease.count_tokens(request) == end_of(events).usage.prompt_tokens

    asyncio.run(body())


def test_a_prompt_as_it_stands_is_counted(tmp_path: Path) -> None:
    async def body() -> None:
        async with open_pool(make_spec(tmp_path, SCRIPT)) as pool, pool.acquire("m") as lease:
            assert await lease.count_tokens(RawPrompt("höh")) == 4
            assert await lease.count_tokens(TokenPrompt((1, 2, 3))) == 3
            with pytest.raises(InvalidParameter, match="no token 99999") as refused:
                await lease.count_tokens(TokenPrompt((1, 99_999)))
            assert refused.value.param == "prompt"

    asyncio.run(body())


def test_a_text_becomes_tokens_and_text_again(tmp_path: Path) -> None:
    async def body() -> None:
        async with open_pool(make_spec(tmp_path, SCRIPT)) as pool, pool.acquire("m") as lease:
            found = await lease.tokenize("aü", add_special=True, parse_special=True)
            assert found.ids == tuple("aü".encode()) and not found.pieces
            assert await lease.detokenize(found.ids) == "aü".encode()
            shown = await lease.tokenize(
                "ü", add_special=True, parse_special=True, with_pieces=True
            )
            assert shown.pieces == (b"\xc3", b"\xbc")
            with pytest.raises(InvalidParameter, match="no token") as refused:
                await lease.detokenize((99_999,))
            assert refused.value.param == "tokens"

    asyncio.run(body())


def test_token_ids_are_a_prompt(tmp_path: Path) -> None:
    async def body() -> None:
        spec = make_spec(tmp_path, script({"match": "^hello$", "pieces": ["found"]}))
        async with open_pool(spec) as pool:
            events = await ask(pool, "m", TokenPrompt(tuple(b"hello")))
            assert text_of(events) == "found"
            assert end_of(events).usage.prompt_tokens == 5

    asyncio.run(body())


def test_a_model_without_a_template_says_so(tmp_path: Path) -> None:
    async def body() -> None:
        spec = make_spec(tmp_path, script({"pieces": ["a"]}, chat_template=None))
        async with open_pool(spec) as pool, pool.acquire("m") as lease:
            with pytest.raises(TemplateFailed, match="no chat template"):
                await lease.render(user("hi"))

    asyncio.run(body())


def is_idle(pool: Pool) -> bool:
    instance = pool.instances["m"]
    return instance.active == instance.waiting == 0 and not instance.threads


def test_a_question_is_answered_while_a_stream_runs_and_then_the_worker_is_idle(
    tmp_path: Path,
) -> None:
    async def body() -> None:
        async with open_pool(make_spec(tmp_path, SCRIPT)) as pool, pool.acquire("m") as lease:
            async with aclosing(lease.generate(user("endless"), PredictionConfig())) as events:
                await anext(events)
                answers = await asyncio.gather(*(lease.count_tokens(user("x")) for _ in range(20)))
                assert len(set(answers)) == 1
                await anext(events)
            await eventually(lambda: is_idle(pool))

    asyncio.run(body())


def test_who_stops_asking_leaves_nothing_behind(tmp_path: Path) -> None:
    async def body() -> None:
        async with open_pool(make_spec(tmp_path, SCRIPT)) as pool, pool.acquire("m") as lease:
            asked = asyncio.ensure_future(lease.count_tokens(user("x" * 1_000_000)))
            await asyncio.sleep(0)
            asked.cancel()
            await asyncio.wait({asked})
            assert await lease.count_tokens(RawPrompt("abc")) == 3
            await eventually(lambda: is_idle(pool))

    asyncio.run(body())


def test_a_crash_fails_who_asks(tmp_path: Path) -> None:
    async def body() -> None:
        async with open_pool(make_spec(tmp_path, SCRIPT)) as pool, pool.acquire("m") as lease:
            pid = pool.instances["m"].pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            asked = asyncio.ensure_future(lease.count_tokens(RawPrompt("abc")))
            await asyncio.sleep(0)
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(EngineCrashed):
                await asked
            with pytest.raises(ModelNotReady):
                await lease.count_tokens(RawPrompt("abc"))

    asyncio.run(body())


def test_an_answer_of_another_kind_is_an_error() -> None:
    async def body() -> None:
        stream = ReplyStream(Rendered)
        stream.push(Detokenized(1, b""))
        with pytest.raises(EngineError, match="answered with Detokenized"):
            await stream.whole()

    asyncio.run(body())
