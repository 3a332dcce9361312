"""Programs and their ends, below any tool."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import sys
from pathlib import Path

import pytest

from lmrun.profile.tooling.tools import ToolLimits
from lmrun.tools.output import BoundedOutput
from lmrun.tools.processes import program as programs
from lmrun.tools.processes.control import ProgramRefused
from lmrun.tools.processes.endings import Ending, explain
from lmrun.tools.processes.group import ProcessGroup
from lmrun.tools.processes.program import Limits, Program, choose_environment, encode_order
from lmrun.tools.processes.waiting import outlast

UNLIMITED = Limits(None, None, None, None)

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel offers it on Linux")


def program(folder: Path, *argv: str, limits: Limits = UNLIMITED) -> Program:
    return Program(argv, folder, {"PATH": os.environ["PATH"]}, limits)


async def finish(started: Program) -> tuple[Ending, str]:
    output = BoundedOutput(10_000)
    group = await ProcessGroup.start(started, output.feed, output.feed)
    try:
        assert await group.ends_within(20)
    finally:
        ending = await group.close()
    return ending, output.text


@linux_only
def test_a_program_inherits_its_three_streams_and_nothing_else(tmp_path: Path) -> None:
    code = "import os; print(*sorted(os.listdir('/proc/self/fd')), os.getpgid(0) == os.getpid())"
    with open(tmp_path / "ours", "w") as ours:
        os.set_inheritable(ours.fileno(), True)
        started = program(tmp_path, sys.executable, "-I", "-S", "-c", code)
        ending, output = asyncio.run(finish(started))
    assert ending == Ending(0)
    assert output == "0 1 2 3 True\n"  # 3 is the directory that is being read


@linux_only
def test_signals_reach_a_program_as_they_would_from_a_shell(tmp_path: Path) -> None:
    _, output = asyncio.run(
        finish(program(tmp_path, "grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"))
    )
    _, blocked, _, ignored = output.split()
    # 32 and 33 are the C library's own: what it starts with `posix_spawn` ignores them for ever.
    others = ~0x1_8000_0000
    assert (int(blocked, 16) & others, int(ignored, 16) & others) == (0, 0)
    ending, _ = asyncio.run(finish(program(tmp_path, "sh", "-c", "yes | head -1; kill -TERM $$")))
    assert ending == Ending(-15)


@pytest.mark.parametrize(
    ("argv", "step", "number"),
    [
        (["no-such-program"], "program", errno.ENOENT),
        (["."], "program", errno.EACCES),
        (["x" * 200_000], "program", errno.ENAMETOOLONG),
        (["a\0b"], "program", 0),
    ],
)
def test_what_cannot_be_started_is_said_and_leaves_nothing(
    tmp_path: Path, argv: list[str], step: str, number: int
) -> None:
    descriptors = len(os.listdir("/dev/fd"))
    with pytest.raises(ProgramRefused) as caught:
        asyncio.run(finish(program(tmp_path, *argv)))
    assert (caught.value.step, caught.value.number) == (step, number)
    assert len(os.listdir("/dev/fd")) == descriptors


@linux_only
def test_a_limit_above_the_server_s_own_is_the_server_s(tmp_path: Path) -> None:
    much = Limits(1e9, 2**60, 10**6, 2**60)
    started = program(tmp_path, "sh", "-c", "ulimit -c; ulimit -f; echo well", limits=much)
    ending, output = asyncio.run(finish(started))
    assert ending == Ending(0)
    assert output.split()[0] == "0"
    assert output.endswith("well\n")


def test_bytes_that_are_no_text_go_through_as_they_are(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe")
    _, output = asyncio.run(
        finish(program(tmp_path, "sh", "-c", 'printf %s "$1" | od -An -tx1', "sh", name))
    )
    assert output.split() == ["ff", "fe"]


def test_an_order_with_a_nul_in_it_is_none(tmp_path: Path) -> None:
    started = Program(["true"], tmp_path, {"A": "b\0c"}, UNLIMITED)
    with pytest.raises(ValueError, match="NUL"):
        encode_order(started)


def test_of_the_environment_only_what_is_named_is_seen() -> None:
    environment = {"PATH": "/bin", "HOME": "/h", "KEY": "x", "MINE": "y", "LANG": "C"}
    seen = choose_environment(environment, ["MINE", "UNSET", "PATH"])
    assert seen == {"PATH": "/bin", "HOME": "/h", "LANG": "C", "MINE": "y"}


@pytest.mark.parametrize(
    ("ending", "kind", "report"),
    [
        (Ending(3), "failed", "It ended with exit code 3."),
        (Ending(-11), "crashed", "It was ended by SIGSEGV."),
        (Ending(-9), "crashed", "It was ended by SIGKILL."),
        (Ending(None), "crashed", "It was ended from outside."),
        (Ending(-9, "cpu"), "timeout", "It used more than 30 s of processor time, and was ended."),
        (Ending(-24), "timeout", "It used more than 30 s of processor time, and was ended."),
        (
            Ending(-9, "processes"),
            "failed",
            "It started more than 32 processes and threads, and was ended.",
        ),
        (Ending(-25), "failed", "It wrote a file larger than 64MiB, and was ended."),
    ],
)
@linux_only
def test_each_end_is_told_by_its_reason(ending: Ending, kind: str, report: str) -> None:
    assert explain(ending, ToolLimits()) == (kind, report)


def test_limits_that_do_not_hold_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(programs, "UNKEPT_LIMITS", ("memory",))
    with caplog.at_level(logging.WARNING, "lmrun.tools"):
        programs.tell_unkept("measure")
    assert "tool measure: this system does not keep its limits of ('memory',)" in caplog.text


def test_what_must_be_waited_for_outlasts_every_cancellation() -> None:
    async def body() -> None:
        work: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(outlast(work))
        for _ in range(3):
            await asyncio.sleep(0)
            waiting.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()
        work.set_result(1)
        with pytest.raises(asyncio.CancelledError):
            await waiting

        failed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        failed.set_exception(OSError("no"))
        with pytest.raises(OSError, match="no"):
            await outlast(failed)

    asyncio.run(body())


@linux_only
def test_without_a_free_descriptor_nothing_is_started_and_nothing_lost(tmp_path: Path) -> None:
    descriptors = len(os.listdir("/dev/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def body() -> None:
        for room in range(12):
            used = len(os.listdir("/dev/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + room, hard))
            try:
                await finish(program(tmp_path, "true"))
            except OSError as error:
                assert error.errno == errno.EMFILE
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (await finish(program(tmp_path, "true")))[0] == Ending(0)

    asyncio.run(body())
    assert len(os.listdir("/dev/fd")) == descriptors
