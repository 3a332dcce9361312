"""The pool with real workers: loading, leases, limits, updates, unloading."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmrun.chat.events import ChatEnd, MessageDelta, Usage
from lmrun.chat.messages import Message
from lmrun.chat.request import Request
from lmrun.errors import (
    ContextOverflow,
    EngineCrashed,
    LmrunError,
    LoadFailed,
    ModelInvalid,
    ModelNotFound,
    ModelNotReady,
    QueueFull,
    SettingRefused,
)
from lmrun.runtime.pool import Pool
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from tests.support.instances import (
    ENDLESS,
    ask,
    end_of,
    eventually,
    ignore_progress,
    make_spec,
    open_pool,
    script,
    text_of,
    user,
)
from tests.support.server import is_alive

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
HELLO = script({"pieces": ["Hel", "lo"]})
ONE = LoadConfig(max_parallel_predictions=1)


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(body, 30))


def test_a_loaded_instance_answers(tmp_path: Path) -> None:
    async def body() -> None:
        fractions: list[float] = []
        async with open_pool() as pool:
            await pool.load(make_spec(tmp_path, HELLO), fractions.append)
            events = await ask(pool, "m", "hi")
            assert text_of(events) == "Hello"
            assert end_of(events) == ChatEnd("eosFound", Usage(2, 2))
            instance = pool.instances["m"]
            assert (instance.state, instance.error, instance.restarts) == ("ready", None, 0)
            assert instance.info is not None
            assert instance.info.context_length == 1_000_000
            assert (fractions[0], fractions[-1]) == (0.0, 1.0)
            pid = instance.pid
            assert pid is not None
        assert pool.instances == {}
        assert not is_alive(pid)

    run(body())


def test_a_request_chooses_and_the_instance_has_the_defaults(tmp_path: Path) -> None:
    async def body() -> None:
        spec = make_spec(
            tmp_path, script(ENDLESS), prediction=PredictionConfig(max_tokens=3, top_k=1)
        )
        async with open_pool(spec) as pool:
            assert end_of(await ask(pool, "m", "hi")).usage.completion_tokens == 3
            events = await ask(pool, "m", "hi", max_tokens=2)
            assert end_of(events).usage.completion_tokens == 2
            assert end_of(events).stop_reason == "maxPredictedTokensReached"

    run(body())


def test_an_update_is_hot(tmp_path: Path) -> None:
    async def body() -> None:
        replies = {"match": "system: Be kind", "pieces": ["kind"]}, {"pieces": ["plain"]}
        spec = make_spec(tmp_path, script(*replies, chat_template=TEMPLATE))
        async with open_pool(spec) as pool:
            pid = pool.instances["m"].pid
            assert text_of(await ask(pool, "m", user("hi"))) == "plain"
            pool.update(replace(spec, system_prompt="Be kind"))
            assert text_of(await ask(pool, "m", user("hi"))) == "kind"
            own = Request((Message("system", "Be brief"), Message("user", "hi")))
            assert text_of(await ask(pool, "m", own)) == "plain"
            assert pool.instances["m"].pid == pid

    run(body())


def test_changing_what_is_fixed_is_no_update(tmp_path: Path) -> None:
    async def body() -> None:
        spec = make_spec(tmp_path, HELLO)
        async with open_pool(spec) as pool:
            with pytest.raises(AssertionError, match="a Reload"):
                pool.update(replace(spec, load=ONE))

    run(body())


@pytest.mark.parametrize(
    ("content", "kind", "retry_after_s"),
    [
        ({"replies": []}, ModelInvalid, None),
        (script({"pieces": ["x"]}, load={"error": "no luck"}), LoadFailed, 10),
        (
            script({"pieces": ["x"]}, load={"refuse": {"param": "load.gpu", "message": "no"}}),
            SettingRefused,
            None,
        ),
        (script({"pieces": ["x"]}, load={"crash": {"signal": 11}}), EngineCrashed, 10),
        (script({"pieces": ["x"]}, load={"crash": {"exit_code": 3}}), EngineCrashed, 10),
    ],
)
def test_a_load_that_fails_is_typed_and_stays_listed(
    tmp_path: Path, content: dict[str, Any], kind: type[LmrunError], retry_after_s: int | None
) -> None:
    async def body() -> None:
        async with open_pool() as pool:
            with pytest.raises(kind) as caught:
                await pool.load(make_spec(tmp_path, content), ignore_progress)
            instance = pool.instances["m"]
            assert (instance.state, instance.error) == ("failed", caught.value)
            assert instance.pid is None
            with pytest.raises(ModelNotReady) as refused:
                await ask(pool, "m", "hi")
            assert refused.value.retry_after_s == retry_after_s
            await pool.load(make_spec(tmp_path, HELLO), ignore_progress)
            assert text_of(await ask(pool, "m", "hi")) == "Hello"

    run(body())


def test_a_crash_while_loading_names_its_signal(tmp_path: Path) -> None:
    async def body() -> None:
        async with open_pool() as pool:
            crashing = script({"pieces": ["x"]}, load={"crash": {"signal": 11}})
            with pytest.raises(EngineCrashed, match="'m' ended unexpectedly: SIGSEGV") as caught:
                await pool.load(make_spec(tmp_path, crashing), ignore_progress)
            assert caught.value.cause == "signal_11"

    run(body())


def test_requests_wait_while_their_model_loads(tmp_path: Path) -> None:
    async def body() -> None:
        slow = script({"pieces": ["x"]}, load={"seconds": 0.5})
        async with open_pool() as pool:
            load = asyncio.create_task(pool.load(make_spec(tmp_path, slow), ignore_progress))
            await eventually(lambda: pool.instances.get("m"))
            answers = [asyncio.create_task(ask(pool, "m", "hi")) for _ in range(3)]
            await eventually(lambda: pool.instances["m"].in_flight == 3)
            assert pool.instances["m"].state == "loading"
            await load
            assert [text_of(await answer) for answer in answers] == ["x"] * 3
            assert pool.instances["m"].in_flight == 0

    run(body())


def test_requests_wait_while_their_model_is_reloaded(tmp_path: Path) -> None:
    async def body() -> None:
        async with open_pool(make_spec(tmp_path, HELLO)) as pool:
            old = pool.instances["m"].pid
            spec = make_spec(tmp_path, script({"pieces": ["new"]}), load=ONE)
            load = asyncio.create_task(pool.load(spec, ignore_progress))
            await eventually(lambda: pool.instances["m"].state == "unloading")
            assert text_of(await ask(pool, "m", "hi")) == "new"
            await load
            assert pool.instances["m"].pid != old

    run(body())


def test_waiting_ends_when_the_load_fails(tmp_path: Path) -> None:
    async def body() -> None:
        failing = script({"pieces": ["x"]}, load={"seconds": 0.2, "error": "no luck"})
        async with open_pool() as pool:
            load = asyncio.create_task(pool.load(make_spec(tmp_path, failing), ignore_progress))
            await eventually(lambda: pool.instances.get("m"))
            with pytest.raises(ModelNotReady, match="no luck"):
                await ask(pool, "m", "hi")
            with pytest.raises(LoadFailed):
                await load

    run(body())


def test_the_queue_has_an_end(tmp_path: Path) -> None:
    async def body() -> None:
        spec = make_spec(tmp_path, script(ENDLESS), load=ONE)
        async with open_pool(spec, queue_limit=2) as pool:
            tasks = [asyncio.create_task(ask(pool, "m", "hi")) for _ in range(3)]
            instance = pool.instances["m"]
            await eventually(lambda: (instance.active, instance.queued) == (1, 2))
            started = time.monotonic()
            with pytest.raises(QueueFull, match="3 requests"):
                await ask(pool, "m", "hi")
            assert time.monotonic() - started < 0.05
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await eventually(lambda: instance.active + instance.waiting == 0)
            assert instance.in_flight == 0

    run(body())


def test_a_model_key_means_its_least_busy_instance(tmp_path: Path) -> None:
    async def body() -> None:
        specs = [
            make_spec(tmp_path, script(ENDLESS), identifier=name, model_key="model")
            for name in ("a", "b")
        ]
        async with open_pool(*specs) as pool, pool.acquire("model") as first:
            async with pool.acquire("model") as second:
                assert {first.instance.spec.identifier, second.instance.spec.identifier} == {
                    "a",
                    "b",
                }
            async with pool.acquire("a") as named:
                assert named.instance.spec.identifier == "a"

    run(body())


def test_an_unknown_model_is_never_another_one(tmp_path: Path) -> None:
    async def body() -> None:
        async with open_pool() as pool:
            with pytest.raises(ModelNotFound, match="No model is loaded"):
                await ask(pool, "nobody", "hi")
            await pool.load(make_spec(tmp_path, HELLO), ignore_progress)
            with pytest.raises(ModelNotFound, match=r"no model 'nobody'\. Loaded are: m\."):
                await ask(pool, "nobody", "hi")

    run(body())


def test_two_streaming_models_share_the_cores(tmp_path: Path) -> None:
    async def body() -> None:
        specs = [make_spec(tmp_path, script(ENDLESS), identifier=name) for name in ("a", "b")]
        async with open_pool(*specs, cores=2) as pool:
            a, b = pool.instances["a"], pool.instances["b"]
            assert (a.threads, b.threads) == (0, 0)
            first = asyncio.create_task(ask(pool, "a", "hi"))
            await eventually(lambda: a.active == 1)
            assert (a.threads, b.threads) == (2, 0)
            second = asyncio.create_task(ask(pool, "b", "hi"))
            await eventually(lambda: b.active == 1)
            assert (a.threads, b.threads) == (1, 1)
            first.cancel()
            await asyncio.wait({first})
            assert (a.threads, b.threads) == (0, 2)
            second.cancel()
            await asyncio.wait({second})

    run(body())


def test_a_prompt_beyond_the_context_is_refused(tmp_path: Path) -> None:
    async def body() -> None:
        small = {"replies": [{"pieces": ["x"]}], "context_length": 16}
        async with open_pool(make_spec(tmp_path, small)) as pool:
            with pytest.raises(ContextOverflow):
                await ask(pool, "m", "x" * 16)
            assert text_of(await ask(pool, "m", "hi")) == "x"

    run(body())


def test_no_secret_of_the_server_reaches_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "LC_SECRET", "LMRUN_CI_KEY", "AWS_SECRET"):
        monkeypatch.setenv(name, "canary-7f3a")

    async def body() -> None:
        async with open_pool(make_spec(tmp_path, HELLO)) as pool:
            await ask(pool, "m", user("hi"))
            pids = processes_of(pool)
            assert len(pids) == 2
            for pid in pids:
                for name in ("environ", "cmdline"):
                    assert b"canary-7f3a" not in Path(f"/proc/{pid}/{name}").read_bytes()

    if not Path("/proc/self/environ").exists():
        pytest.skip("only /proc shows another process's environment")
    run(body())


def processes_of(pool: Pool) -> list[int]:
    """The worker and what it started."""
    pid = pool.instances["m"].pid
    children = Path(f"/proc/{pid}/task").glob("*/children")
    started = [int(child) for each in children for child in each.read_text().split()]
    return [pid or os.getpid(), *started]


def test_five_hundred_streams_at_once(tmp_path: Path) -> None:
    async def body() -> None:
        reply = {"pieces": ["a", "b", "c", "d"], "repeat": 5, "seconds_per_token": 0.02}
        spec = make_spec(tmp_path, script(reply), load=LoadConfig(max_parallel_predictions=255))
        async with open_pool(spec, queue_limit=500) as pool:
            answers = await asyncio.gather(*(ask(pool, "m", "hi") for _ in range(500)))
            assert all(text_of(events) == "abcd" * 5 for events in answers)
            assert all(isinstance(events[-2], MessageDelta) for events in answers)
            instance = pool.instances["m"]
            await eventually(lambda: instance.active + instance.waiting == 0)
            assert (instance.in_flight, instance.restarts) == (0, 0)

    run(body())
