"""Functions called in processes of their own: results, faults, and what they can do to others."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from pathlib import Path

import pytest

from lmrun.profile.tooling.tools import ToolConfig
from lmrun.tools.functions.pool import MAX_PROCESSES, Pool
from lmrun.tools.functions.process import Workplace
from lmrun.tools.functions.tool import FunctionTool
from lmrun.tools.processes.program import Limits
from lmrun.tools.tool import ToolResult
from tests.support.server import eventually, is_alive
from tests.tools.functions.support import call, hosting, run, write

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel offers it on Linux")


def test_results_and_exceptions_are_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(
        tmp_path,
        '''
        import asyncio, sys
        from datetime import date

        def say(name: str) -> str:
            """Say something."""
            print("printed")
            return f"Hello, {name}\\x1b[31m!"

        async def wait(n: int) -> int:
            await asyncio.sleep(0.01)
            return n + 1

        def nothing(): pass
        def day(): return date(2026, 12, 24)
        def odd(): return object()
        def leave(): sys.exit(3)

        def fail(secret: str):
            print("on the way")
            print("to stderr", file=sys.stderr)
            raise LookupError(f"no such order: {secret}")
        ''',
    )

    async def body() -> None:
        names = ("say", "wait", "nothing", "day", "odd", "leave", "fail")
        async with hosting(tmp_path, *names) as host:
            assert host.faults == {}
            assert await call(host, "say", name="Bob") == ToolResult("Hello, Bob!", size=16)
            assert (await call(host, "wait", n=1)).text == "2"
            assert (await call(host, "wait", n=2)).text == "3"
            assert (await call(host, "nothing")).text == "Done."
            assert (await call(host, "day")).text == "2026-12-24"
            odd = await call(host, "odd")
            assert odd.error == "failed"
            assert odd.text.startswith("ResultUnfit: it returned a object")
            left = await call(host, "leave")
            assert (left.error, left.text) == ("failed", "SystemExit: 3")
            failed = await call(host, "fail", secret="\x1b[1m7")
            assert failed.error == "failed"
            assert failed.text == (
                "LookupError: no such order: 7\nIt printed:\non the way\nto stderr"
            )
            again = await call(host, "fail", secret="8")
            assert again.text.count("on the way") == 1
            refused = await call(host, "wait", n="x")
            assert refused.error == "invalid_arguments"
            assert refused.text.startswith("`n`: Input should be a valid integer")

    with caplog.at_level(logging.WARNING, "lmrun.tools"):
        run(body())
    assert 'raise LookupError(f"no such order: {secret}")' in caplog.text
    assert "child.py" not in caplog.text


def test_what_a_function_prints_is_never_taken_for_an_answer(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
        import os, sys

        def flood() -> str:
            for fd in (1, 2):
                for _ in range(100):
                    os.write(fd, b"\\x00\\x00\\x00\\x05{}" * 10_000)
            sys.stdout = None
            return "well"
        """,
    )

    async def body() -> None:
        async with hosting(tmp_path, "flood") as host:
            for _ in range(3):
                assert (await call(host, "flood")).text == "well"

    run(body())


def test_functions_run_where_the_profile_says_and_see_what_it_names(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
        import os, sys
        def where() -> str: return os.getcwd()
        def environment() -> dict[str, str]: return dict(os.environ)
        def read() -> str: return sys.stdin.read()
        def arguments() -> list[str]: return sys.argv
        """,
    )
    (tmp_path / "inner").mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": "/h", "SECRET": "x", "SHOWN": "y"}

    async def body() -> None:
        tools = {"inside": {"python": "tools:where", "cwd": "inner"}}
        names = ("where", "environment", "read", "arguments")
        async with hosting(
            tmp_path, *names, tools=tools, environment=environment, env=["SHOWN"]
        ) as host:
            assert (await call(host, "where")).text == str(tmp_path)
            assert (await call(host, "inside")).text == str(tmp_path / "inner")
            seen = (await call(host, "environment")).text
            shown = '"HOME": "/h", "SHOWN": "y"'
            assert shown in seen
            for name in ("SECRET", "PYTHONPATH", "LMRUN"):
                assert name not in seen
            assert await call(host, "read") == ToolResult("", size=0)
            assert (await call(host, "arguments")).text == '[""]'

    run(body())


def test_a_long_result_is_shortened_where_it_is_made(tmp_path: Path) -> None:
    write(tmp_path, "def much(n: int) -> str: return 'x' * n")

    async def body() -> None:
        async with hosting(tmp_path, "much", max_output="1KiB") as host:
            result = await call(host, "much", n=200_000_000)
            assert result.size == 200_000_000
            assert len(result.text.encode()) <= 1024

    run(body())


FATAL = """
    import ctypes, os, signal, subprocess, sys, threading, time

    def work() -> int: return os.getpid()
    def segfault() -> None: print("last words"); ctypes.string_at(0)
    def quit(code: int) -> None: os._exit(code)
    def hang() -> None: print("begun"); time.sleep(100)
    def stubborn() -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: open("asked", "w").close())
        subprocess.Popen(["sleep", "300"], start_new_session=True)
        time.sleep(100)
    def spin() -> None:
        while True: pass
    def half(seconds: float) -> str:
        begin = time.process_time()
        while time.process_time() < begin + seconds: pass
        return "done"
    def hog() -> int: return len(bytearray(600 << 20))
    def write() -> None: open("big", "wb").write(bytes(3 << 20))
    def threads() -> None:
        for _ in range(40): threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
        time.sleep(30)
    def garbage() -> None:
        for fd in range(3, 64):
            try: os.write(fd, b"\\x00\\x00\\x00\\x03abc")
            except OSError: pass
        time.sleep(30)
"""


def test_a_crash_is_that_of_one_call(tmp_path: Path) -> None:
    write(tmp_path, FATAL)

    async def body() -> None:
        names = ("work", "segfault", "quit", "garbage")
        async with hosting(tmp_path, *names) as host:
            first = (await call(host, "work")).text
            crashed, worked = await asyncio.gather(call(host, "segfault"), call(host, "work"))
            assert crashed.error == "crashed"
            assert crashed.text == "It was ended by SIGSEGV.\nIt printed:\nlast words"
            assert worked.error is None
            quit_ = await call(host, "quit", code=0)
            assert (quit_.error, quit_.text) == (
                "crashed",
                "It ended its process with exit code 0.",
            )
            garbage = await call(host, "garbage")
            assert garbage.error == "crashed"
            last = (await call(host, "work")).text
            assert last != first
            assert not is_alive(int(first))

    run(body())


@linux_only
def test_at_its_timeout_a_call_is_ended_and_the_next_one_works(tmp_path: Path) -> None:
    write(tmp_path, FATAL)

    async def body() -> None:
        async with hosting(tmp_path, "work", "hang", timeout="0.5s") as host:
            pid = int((await call(host, "work")).text)
            begin = time.monotonic()
            hung = await call(host, "hang")
            assert time.monotonic() - begin < 2.4  # it went when it was asked
            assert hung.error == "timeout"
            assert hung.text == (
                "It did not return within 0.5 s, and was ended.\nIt printed:\nbegun"
            )
            assert not is_alive(pid)
            assert (await call(host, "work")).error is None
        async with hosting(tmp_path, "stubborn", timeout="0.5s") as host:
            assert (await call(host, "stubborn")).error == "timeout"
            assert (tmp_path / "asked").exists()
            assert sleepers(tmp_path) == []

    run(body())


def sleepers(folder: Path) -> list[str]:
    """The command lines of processes that run in `folder`."""
    return [line for _, line in look_in(folder)]


def look_in(folder: Path) -> list[tuple[int, str]]:
    """Processes whose working directory is `folder`, in Linux's /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if Path(os.readlink(entry / "cwd")) == folder and is_alive(int(entry.name)):
                    line = (entry / "cmdline").read_bytes().decode(errors="replace")
                    found.append((int(entry.name), line))
            except OSError:
                continue
    return found


@linux_only
def test_a_cancelled_call_is_ended_at_once(tmp_path: Path) -> None:
    write(tmp_path, FATAL)

    async def body() -> None:
        async with hosting(tmp_path, "stubborn", "work") as host:
            calling = asyncio.create_task(call(host, "stubborn"))
            await asyncio.to_thread(
                eventually, lambda: any("300" in it for it in sleepers(tmp_path))
            )
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            assert not (tmp_path / "asked").exists()
            assert sleepers(tmp_path) == []
            assert (await call(host, "work")).error is None

    run(body())
    assert sleepers(tmp_path) == []


@linux_only
def test_limits_hold_for_each_call(tmp_path: Path) -> None:
    write(tmp_path, FATAL)
    limits = {"cpu": "1s", "memory": "2GiB", "file_size": "1MiB", "processes": 20}

    async def body() -> None:
        names = ("spin", "half", "write", "threads", "work")
        hog = {"python": "tools:hog", "limits": {"memory": "500MiB"}}
        async with hosting(tmp_path, *names, tools={"hog": hog}, limits=limits) as host:
            pid = (await call(host, "work")).text
            hogged = await call(host, "hog")
            assert (hogged.error, hogged.text) == ("failed", "MemoryError")
            # What one call has used is not counted against the next one.
            for _ in range(2):
                assert (await call(host, "half", seconds=0.6)).text == "done"
            assert (await call(host, "work")).text == pid
            spun = await call(host, "spin")
            assert spun.error == "timeout"
            assert spun.text == "It used more than 1 s of processor time, and was ended."
            wrote = await call(host, "write")
            assert wrote.error == "failed"
            assert "File too large" in wrote.text or "larger than 1MiB" in wrote.text
            many = await call(host, "threads")
            assert many.text == "It started more than 20 processes and threads, and was ended."

    run(body())


def test_calls_run_side_by_side_and_wait_where_there_are_too_many(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
        import os, time
        def slow(seconds: float) -> int:
            open(f"{os.getpid()}.pid", "w").close()
            time.sleep(seconds)
            return os.getpid()
        """,
    )

    async def body() -> None:
        async with hosting(tmp_path, "slow", timeout="20s") as host:
            calls = [call(host, "slow", seconds=0.8) for _ in range(MAX_PROCESSES + 2)]
            results = await asyncio.gather(*calls)
            assert all(result.error is None for result in results), results
            assert len({result.text for result in results}) == MAX_PROCESSES
        hasty = {"python": "tools:slow", "timeout": "0.5s"}
        async with hosting(tmp_path, "slow", tools={"hasty": hasty}) as host:
            first = [asyncio.create_task(call(host, "slow", seconds=20)) for _ in range(4)]
            await asyncio.to_thread(eventually, lambda: len(list(tmp_path.glob("*.pid"))) == 8)
            late = await call(host, "hasty", seconds=0)
            assert late.error == "timeout"
            assert late.text == "It could not be called: all its 4 processes were busy for 0.5 s."
            for each in first:
                each.cancel()
            await asyncio.wait(first)
            assert (await call(host, "hasty", seconds=0)).error is None

    run(body())


@linux_only
def test_processes_that_are_not_needed_for_a_while_end_but_for_one(tmp_path: Path) -> None:
    write(tmp_path, "import time\ndef f() -> None: time.sleep(0.3)")
    config = ToolConfig.model_validate({"python": "tools:f"})
    limits = Limits(None, None, None, None)
    environment = {"PATH": os.environ["PATH"]}
    place = Workplace(tmp_path, "tools", {"f": "f"}, tmp_path, environment, limits)

    async def body() -> None:
        pool = Pool(place, idle_s=0.5)
        tool = FunctionTool("f", config, pool)
        try:
            calls = (tool.call({}, lambda progress: None) for _ in range(3))
            assert {result.error for result in await asyncio.gather(*calls)} == {None}
            assert len(working_in(tmp_path)) == 3
            await asyncio.to_thread(eventually, lambda: len(working_in(tmp_path)) == 1)
            (kept,) = working_in(tmp_path)
            await tool.call({}, lambda progress: None)
            assert working_in(tmp_path) == [kept]
        finally:
            await pool.close()
        assert working_in(tmp_path) == []

    run(body())


def working_in(folder: Path) -> list[int]:
    return [pid for pid, _ in look_in(folder)]


def test_an_idle_process_costs_nothing_and_ends_with_its_host(tmp_path: Path) -> None:
    write(tmp_path, "import os\ndef work() -> int: return os.getpid()")

    async def body() -> None:
        async with hosting(tmp_path, "work") as host:
            pid = int((await call(host, "work")).text)
            assert is_alive(pid)
        assert not is_alive(pid)

    descriptors = len(os.listdir("/dev/fd"))
    run(body())
    assert len(os.listdir("/dev/fd")) == descriptors


def test_a_call_costs_little_beyond_the_function(tmp_path: Path) -> None:
    write(tmp_path, "def add(a: int, b: int) -> int: return a + b")

    async def body() -> None:
        async with hosting(tmp_path, "add") as host:
            times = []
            for number in range(100):
                begin = time.perf_counter()
                assert (await call(host, "add", a=number, b=1)).text == str(number + 1)
                times.append(time.perf_counter() - begin)
            assert sorted(times)[50] < 0.01

    run(body())
