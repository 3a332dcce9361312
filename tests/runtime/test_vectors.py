"""Embeddings and scores through a pool, from real workers."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import gguf
import pytest

from lmrun.errors import (
    BodyTooLarge,
    ContextOverflow,
    EngineCrashed,
    EngineError,
    InvalidParameter,
    ModelNotReady,
    UnsupportedParameter,
)
from lmrun.runtime.answers.vectors import VectorStream
from lmrun.runtime.pool import Pool
from lmrun.runtime.process.watchdog import Watchdog
from lmrun.runtime.timings import Timings
from lmrun.worker.frames import Embedded
from tests.support.bert import bert_path
from tests.support.instances import ENDLESS, describe, eventually, make_spec, open_pool, script
from tests.support.tiny_bert import make_tiny_bert

TEXTS = ["a small cat", "a little kitten", "the stock market fell"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    return make_tiny_bert(gguf.PoolingType.MEAN).write(folder / "tiny-bert.gguf")


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rank")
    return make_tiny_bert(gguf.PoolingType.RANK).write(folder / "tiny-rank.gguf")


def cosine(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def test_texts_become_vectors_and_their_tokens_are_counted() -> None:
    async def body() -> None:
        async with open_pool(describe(bert_path())) as pool, pool.acquire("m") as lease:
            found = await lease.embed(TEXTS)
            cat, kitten, market = (found.read(index) for index in range(found.count))
            assert cosine(cat, kitten) == pytest.approx(0.79, abs=0.01)
            assert cosine(cat, market) == pytest.approx(0.12, abs=0.01)
            assert cosine(cat, cat) == pytest.approx(1)
            assert found.prompt_tokens == 5 + 5 + 6
            assert len(found.read_bytes(1)) == 4 * 384
            short = await lease.embed(TEXTS[:1], dimensions=10)
            assert len(short.read(0)) == 10

    asyncio.run(body())


def test_documents_are_scored(reranker: Path) -> None:
    async def body() -> None:
        async with open_pool(describe(reranker)) as pool, pool.acquire("m") as lease:
            found = await lease.score("a b", ["kalo", "mine ru", "kalo"])
            assert len(found.values) == 3 and found.prompt_tokens > 9
            assert found.values[0] == pytest.approx(found.values[2], abs=1e-4)
            assert found.values[0] != pytest.approx(found.values[1], abs=1e-3)
            with pytest.raises(UnsupportedParameter, match="reranker"):
                await lease.embed(["a"])

    asyncio.run(body())


def test_many_requests_at_once_get_their_own_answers(tiny: Path) -> None:
    async def body() -> None:
        async with open_pool(describe(tiny)) as pool, pool.acquire("m") as lease:
            inputs = [[5 + number, 6, 7] for number in range(30)]
            alone = await lease.embed(inputs)
            many = await asyncio.gather(*(lease.embed([tokens]) for tokens in inputs))
            for number, answer in enumerate(many):
                assert answer.prompt_tokens == 3
                assert cosine(answer.read(0), alone.read(number)) == pytest.approx(1, abs=1e-4)
            assert cosine(many[0].read(0), many[9].read(0)) < 0.999

    asyncio.run(body())


@pytest.mark.parametrize(
    ("inputs", "error", "param"),
    [
        (["a", "b " * 70], ContextOverflow, "input[1]"),
        (["a", []], InvalidParameter, "input[1]"),
        ([[5], [10**6]], InvalidParameter, "input[1]"),
        ([], InvalidParameter, "input"),
        (["a", "\ud800"], InvalidParameter, None),
        (["x" * 65 * 2**20], BodyTooLarge, None),
    ],
)
def test_a_wrong_input_fails_alone(
    tiny: Path, inputs: list[str | list[int]], error: type[Exception], param: str | None
) -> None:
    async def body() -> None:
        async with open_pool(describe(tiny)) as pool, pool.acquire("m") as lease:
            good = asyncio.ensure_future(lease.embed(["a b c"]))
            with pytest.raises(error) as refused:
                await lease.embed(inputs)
            assert getattr(refused.value, "param", None) == param
            assert (await good).count == 1

    asyncio.run(body())


def test_a_model_that_generates_gives_no_vectors(tmp_path: Path) -> None:
    async def body() -> None:
        spec = make_spec(tmp_path, script(ENDLESS))
        async with open_pool(spec) as pool, pool.acquire("m") as lease:
            with pytest.raises(UnsupportedParameter, match="no embeddings"):
                await lease.embed(["a"])
            with pytest.raises(UnsupportedParameter, match="no documents"):
                await lease.score("a", ["b"])

    asyncio.run(body())


def is_idle(pool: Pool) -> bool:
    instance = pool.instances["m"]
    return instance.active == instance.waiting == 0 and not instance.threads


def test_who_stops_waiting_stops_the_work(tiny: Path) -> None:
    async def body() -> None:
        async with open_pool(describe(tiny)) as pool, pool.acquire("m") as lease:
            endless = asyncio.ensure_future(lease.embed([[5] * 60] * 100_000))
            await eventually(lambda: pool.instances["m"].active == 1)
            assert (await lease.embed(["a"])).count == 1
            assert not endless.done()
            endless.cancel()
            await eventually(lambda: is_idle(pool))

    asyncio.run(body())


def test_a_crash_fails_who_waits_and_the_next_one_is_served(tiny: Path) -> None:
    async def body() -> None:
        async with open_pool(describe(tiny)) as pool, pool.acquire("m") as lease:
            waiting = asyncio.ensure_future(lease.embed([[5] * 60] * 100_000))
            await eventually(lambda: pool.instances["m"].active == 1)
            pid = pool.instances["m"].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(EngineCrashed):
                await waiting
            with pytest.raises(ModelNotReady):
                await lease.embed(["a"])
            await eventually(lambda: pool.instances["m"].state == "ready")
            assert (await lease.embed(["a"])).count == 1

    asyncio.run(body())


def test_an_answer_that_is_no_whole_vectors_is_an_error() -> None:
    async def body() -> None:
        stream = VectorStream(2)
        stream.push(Embedded(1, bytes(8), tokens=1, is_last=False))
        stream.push(Embedded(1, bytes(4), tokens=1, is_last=True))
        with pytest.raises(EngineError, match="12 bytes"):
            await stream.whole()

    asyncio.run(body())


def test_a_worker_that_announced_a_long_step_is_not_taken_for_hung() -> None:
    async def body() -> None:
        timings = Timings(heartbeat_timeout_s=0.02)
        hung: list[str] = []
        patient = Watchdog(timings, lambda silent_s: hung.append("patient"))
        patient.beat(is_busy=True, patience_s=60.0)
        for name in ("first", "second", "third"):
            Watchdog(timings, lambda silent_s, name=name: hung.append(name))  # type: ignore[misc]
            await eventually(lambda name=name: name in hung)  # type: ignore[misc]
        assert "patient" not in hung
        patient.beat(is_busy=True)
        await eventually(lambda: "patient" in hung)

    asyncio.run(body())
