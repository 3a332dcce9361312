"""What a dying, hanging or lying worker does to others: nothing. Real processes, real signals."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmrun.chat.events import Event, MessageDelta, PromptProgress
from lmrun.chat.messages import RawPrompt
from lmrun.errors import CrashLoop, EngineCrashed, EngineError, EngineHung, ModelNotReady
from lmrun.runtime.pool import Pool
from lmrun.runtime.process.worker import WorkerProcess
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from lmrun.worker.frames import Load, Step
from tests.support.instances import (
    ENDLESS,
    QUICK,
    ask,
    eventually,
    make_spec,
    open_pool,
    script,
    text_of,
)
from tests.support.server import is_alive
from tests.support.worker import CHECKOUT, wait_for

SAYING = script({"match": "hi", "pieces": ["hello"]}, ENDLESS)


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(body, 40))


class Listener:
    """A running generation: what came so far, and when and how it ended."""

    def __init__(self, pool: Pool, name: str) -> None:
        self.events: list[Event] = []
        self.ended_at = 0.0
        self.error: Exception | None = None
        self.task = asyncio.create_task(self._listen(pool, name))

    async def _listen(self, pool: Pool, name: str) -> None:
        async with pool.acquire(name) as lease:
            events = lease.generate(RawPrompt("go on"), PredictionConfig())
            async with aclosing(events):
                try:
                    async for event in events:
                        self.events.append(event)
                except EngineError as error:
                    self.error = error
                    self.ended_at = time.monotonic()

    async def until_streaming(self) -> None:
        await eventually(lambda: len(self.events) > 3)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGTERM"])
def test_a_signal_ends_its_own_streams_with_a_typed_error(tmp_path: Path, name: str) -> None:
    number = signal.Signals[name].value

    async def body() -> None:
        specs = [make_spec(tmp_path, SAYING, identifier=each) for each in ("hit", "spared")]
        async with open_pool(*specs) as pool:
            hit, spared = [Listener(pool, "hit") for _ in range(3)], Listener(pool, "spared")
            for listener in (*hit, spared):
                await listener.until_streaming()
            pid = pool.instances["hit"].pid
            assert pid is not None
            struck_at = time.monotonic()
            os.kill(pid, number)
            await asyncio.wait({listener.task for listener in hit}, timeout=5)
            for listener in hit:
                assert isinstance(listener.error, EngineCrashed)
                assert listener.error.cause == f"signal_{number}"
                assert name in listener.error.message
                assert "'hit'" in listener.error.message
                assert listener.ended_at - struck_at < 0.1
            assert text_of(await ask(pool, "hit", "hi")) == "hello"
            instance = pool.instances["hit"]
            assert (instance.state, instance.restarts) == ("ready", 1)
            assert instance.pid != pid
            before = len(spared.events)
            await eventually(lambda: len(spared.events) > before + 10)
            assert spared.error is None
            assert pool.instances["spared"].restarts == 0
            await spared.stop()

    run(body())


def test_an_exit_names_its_code(tmp_path: Path) -> None:
    async def body() -> None:
        exiting = {"match": "go", "pieces": ["x"], "crash": {"after": 1, "exit_code": 3}}
        async with open_pool(make_spec(tmp_path, script(exiting, {"pieces": ["y"]}))) as pool:
            with pytest.raises(EngineCrashed, match="exit code 3") as caught:
                await ask(pool, "m", "go")
            assert caught.value.cause == "exit_3"
            assert text_of(await ask(pool, "m", "hi")) == "y"

    run(body())


def test_a_worker_that_stops_is_hung_and_started_again(tmp_path: Path) -> None:
    async def body() -> None:
        timings = replace(QUICK, heartbeat_timeout_s=1.6)
        specs = [make_spec(tmp_path, SAYING, identifier=each) for each in ("hit", "spared")]
        async with open_pool(*specs, timings=timings) as pool:
            hit, spared = Listener(pool, "hit"), Listener(pool, "spared")
            await hit.until_streaming()
            await spared.until_streaming()
            pid = pool.instances["hit"].pid
            assert pid is not None
            struck_at = time.monotonic()
            os.kill(pid, signal.SIGSTOP)
            await asyncio.wait({hit.task}, timeout=10)
            assert isinstance(hit.error, EngineHung)
            assert 1.2 < hit.ended_at - struck_at < 3
            assert not is_alive(pid)
            assert text_of(await ask(pool, "hit", "hi")) == "hello"
            assert spared.error is None
            await spared.stop()

    run(body())


def test_an_idle_worker_that_stops_is_noticed_too(tmp_path: Path) -> None:
    async def body() -> None:
        timings = replace(QUICK, heartbeat_timeout_s=1.6)
        async with open_pool(make_spec(tmp_path, SAYING), timings=timings) as pool:
            instance = pool.instances["m"]
            pid = instance.pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            await eventually(lambda: instance.restarts == 1)
            assert text_of(await ask(pool, "m", "hi")) == "hello"

    run(body())


def test_an_idle_worker_and_long_steps_are_not_hung(tmp_path: Path) -> None:
    async def body() -> None:
        timings = replace(QUICK, heartbeat_timeout_s=1.6)
        slow = {"pieces": ["x", "y"], "hang": {"after": 1, "seconds": 1.0}}
        async with open_pool(make_spec(tmp_path, script(slow)), timings=timings) as pool:
            assert text_of(await ask(pool, "m", "hi")) == "xy"
            await asyncio.sleep(2.5)
            assert text_of(await ask(pool, "m", "hi")) == "xy"
            assert pool.instances["m"].restarts == 0

    run(body())


def test_a_server_that_was_stopped_itself_blames_no_worker(tmp_path: Path) -> None:
    async def body() -> None:
        timings = replace(QUICK, heartbeat_timeout_s=1.6)
        async with open_pool(make_spec(tmp_path, SAYING), timings=timings) as pool:
            listener = Listener(pool, "m")
            await listener.until_streaming()
            time.sleep(2.5)  # the event loop must stand still
            before = len(listener.events)
            await eventually(lambda: len(listener.events) > before + 5)
            assert pool.instances["m"].restarts == 0
            await listener.stop()

    run(body())


def test_a_worker_that_crashes_again_and_again_is_given_up(tmp_path: Path) -> None:
    async def body() -> None:
        timings = replace(QUICK, backoff_first_s=0.01, backoff_most_s=0.02)
        async with open_pool(make_spec(tmp_path, SAYING), timings=timings) as pool:
            instance = pool.instances["m"]
            for crashes in range(6):
                await eventually(lambda: instance.state == "ready" and instance.pid)
                assert instance.restarts == crashes
                os.kill(instance.pid or 0, signal.SIGKILL)
                await eventually(lambda: instance.state != "ready")
            await eventually(lambda: instance.state == "failed")
            assert isinstance(instance.error, CrashLoop)
            assert "crashed 6 times within 60 s" in instance.error.message
            assert "SIGKILL" in instance.error.message
            started = time.monotonic()
            with pytest.raises(ModelNotReady, match="crashed 6 times") as caught:
                await ask(pool, "m", "hi")
            assert time.monotonic() - started < 0.05
            assert caught.value.retry_after_s == 10

    run(body())


def test_a_model_that_is_gone_at_the_restart_fails_with_the_reason(tmp_path: Path) -> None:
    async def body() -> None:
        spec = make_spec(tmp_path, SAYING)
        async with open_pool(spec) as pool:
            instance = pool.instances["m"]
            spec.path.unlink()
            os.kill(instance.pid or 0, signal.SIGKILL)
            await eventually(lambda: instance.state == "failed")
            assert "m.scripted.json" in str(instance.error)

    run(body())


@pytest.mark.parametrize("moment", ["queued", "prefill", "first token", "mid-stream"])
def test_closing_the_stream_frees_the_sequence(tmp_path: Path, moment: str) -> None:
    async def body() -> None:
        content = script(
            {**ENDLESS, "seconds_before_first": 0.1}, prompt_tokens_per_step=2, step_seconds=0.01
        )
        spec = make_spec(tmp_path, content, load=LoadConfig(max_parallel_predictions=1))
        async with open_pool(spec) as pool, pool.acquire("m") as lease:
            instance = lease.instance
            running = Listener(pool, "m") if moment == "queued" else None
            if running is not None:
                await running.until_streaming()
            events = lease.generate(RawPrompt("x" * 400), PredictionConfig())
            if moment == "queued":
                first = asyncio.ensure_future(anext(events))
                await eventually(lambda: instance.waiting == 1)
                first.cancel()
                await asyncio.wait({first})
            else:
                await read_until(events, moment)
            started = time.monotonic()
            await events.aclose()
            left = 1 if running is not None else 0
            await eventually(lambda: instance.active + instance.waiting == left)
            assert time.monotonic() - started < 0.25
            if running is not None:
                await running.stop()

    run(body())


async def read_until(events: Any, moment: str) -> None:
    deltas = 0
    async for event in events:
        deltas += isinstance(event, MessageDelta)
        if isinstance(event, PromptProgress) and moment == "prefill":
            return
        if deltas == {"prefill": -1, "first token": 1, "mid-stream": 20}[moment]:
            return


def test_a_worker_that_sends_nonsense_is_ended(tmp_path: Path) -> None:
    async def body() -> None:
        spec = make_spec(tmp_path, SAYING)
        frames: list[object] = []
        process = await WorkerProcess.spawn("m", frames.append)
        process.send(Load("scripted", str(spec.path), {}, 1))
        await eventually(lambda: any(isinstance(frame, Step) for frame in frames))
        process._connection.get_buffer(-1)[:64] = b"\xff" * 64
        process._connection.buffer_updated(64)
        assert await process.finish() in (0, -signal.SIGKILL)
        assert "over the limit" in (process.fault or "")

    run(body())


PARENT = """
import asyncio, json, sys
from pathlib import Path
from tests.support.instances import *

async def main():
    async with open_pool(make_spec(Path(sys.argv[1]), script(ENDLESS))) as pool:
        task = asyncio.create_task(ask(pool, "m", user("hi")))
        await eventually(lambda: pool.instances["m"].active == 1)
        pid = pool.instances["m"].pid
        children = Path(f"/proc/{pid}/task").glob("*/children")
        print(pid, *(child for each in children for child in each.read_text().split()), flush=True)
        await task

asyncio.run(main())
"""


@pytest.mark.parametrize("worker_stops", [False, True])
def test_no_worker_outlives_its_server(tmp_path: Path, worker_stops: bool) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert pids
        if worker_stops and sys.platform == "linux":
            os.kill(pids[0], signal.SIGSTOP)
        parent.kill()
    wait_for(lambda: not any(is_alive(pid) for pid in pids), 2.0)
