"""Commands as tools, in real processes: what they are given, what comes of them, how they end."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lmrun.errors import ToolInvalid
from lmrun.tools.commands.tool import CommandTool
from lmrun.tools.tool import ToolResult
from tests.support.progeny import read_pids, survivors, was_asked, write_escaping
from tests.support.server import eventually
from tests.tools.commands.support import make, run, texts

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel offers it on Linux")


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", code)


def test_a_command_s_output_is_the_result(tmp_path: Path) -> None:
    tool = make(tmp_path, "echo", "Hello, {name}", parameters=texts("name"))
    assert run(tool, name="$(id); `id`") == ToolResult("Hello, $(id); `id`\n", size=19)


def test_what_it_is_like_is_what_the_profile_says(tmp_path: Path) -> None:
    tool = make(
        *(tmp_path, "du", "--max-depth={depth}", "--", "{path}"),
        parameters={"path": {"type": "string"}, "depth": {"type": "integer"}},
        optional=["depth"],
        description="Measure a directory",
        policy="allow",
        effects=[],
        untrusted=True,
        idempotent=True,
        export=True,
        timeout="5s",
    )
    spec = tool.spec
    assert (spec.path, spec.name, spec.description) == ("tool", "tool", "Measure a directory")
    assert spec.parameters == {
        "type": "object",
        "properties": {"path": {"type": "string"}, "depth": {"type": "integer"}},
        "required": ["path"],
        "additionalProperties": False,
    }
    assert (spec.policy, spec.effects, spec.timeout_s) == ("allow", frozenset(), 5.0)
    assert spec.is_untrusted
    assert spec.is_idempotent
    assert spec.is_exported
    (tmp_path / "f").write_bytes(b"x")
    result = run(tool, path=".")
    assert result.error is None
    assert result.is_untrusted


def test_what_it_may_do_is_the_worst_unless_the_profile_knows_better(tmp_path: Path) -> None:
    spec = make(tmp_path, "true").spec
    assert (spec.policy, spec.effects) == ("ask", frozenset({"write", "network"}))
    assert not spec.is_untrusted


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"command": ["sh", "-c", "{x}"], "parameters": texts("x")}, "is a script"),
        ({"command": ["echo", "{x"]}, "`command[1]`: a brace stands alone"),
    ],
)
def test_a_declaration_that_cannot_be_right_is_refused(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ToolInvalid) as caught:
        make(tmp_path, *fields.pop("command"), **fields)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("-n", "begins with `-`"),
        ("a\0b", "NUL"),
        ("x" * 2**20, "longer than 131071 bytes"),
    ],
)
def test_what_cannot_be_handed_over_is_told_to_the_model(
    tmp_path: Path, value: str, message: str
) -> None:
    result = run(make(tmp_path, "echo", "{x}", parameters=texts("x")), x=value)
    assert result.error == "invalid_arguments"
    assert message in result.text


def test_arguments_that_are_too_long_together_are_told_to_the_model(tmp_path: Path) -> None:
    names = [f"x{number}" for number in range(30)]
    tool = make(tmp_path, "echo", *(f"{{{name}}}" for name in names), parameters=texts(*names))
    result = run(tool, **dict.fromkeys(names, "x" * 130_000))
    assert result.error == "invalid_arguments"
    assert result.text == "The arguments are longer together than a program can be given."


def test_it_sees_of_the_environment_what_the_profile_names(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/somewhere",
        "LANG": "C",
        "TMPDIR": "/tmp",
        "LMRUN_SECRET": "hidden",
        "SHOWN": "yes = no\n",
        "LC_ALL": "C",
    }
    tool = make(tmp_path, "env", "-0", env=["SHOWN", "UNSET"], environment=environment)
    text = run(tool).text
    assert "SHOWN=yes = no\n" in text
    for name in ("PATH", "HOME", "LANG", "TMPDIR"):
        assert f"{name}={environment[name]}" in text
    assert text.count("=") == 6, text


def test_it_runs_in_the_profile_s_directory_or_where_that_says(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    assert run(make(tmp_path, "pwd")).text == f"{tmp_path}\n"
    assert run(make(tmp_path, "pwd", cwd="inner")).text == f"{tmp_path}/inner\n"
    result = run(make(tmp_path, "pwd", cwd="nowhere"))
    assert result.error == "failed"
    assert result.text == f"It cannot run in {tmp_path}/nowhere: No such file or directory."


def test_a_program_that_is_not_there_is_a_result(tmp_path: Path) -> None:
    result = run(make(tmp_path, "no-such-program"))
    assert result == ToolResult(
        "no-such-program cannot be started: No such file or directory.", error="failed"
    )


def test_it_reads_nothing_and_writes_to_two_streams(tmp_path: Path) -> None:
    tool = make(tmp_path, "sh", "-c", "cat; echo out; echo err >&2")
    assert run(tool) == ToolResult("out\n", size=8)
    assert run(make(tmp_path, "sh", "-c", "echo err >&2")).text == "err\n"
    assert run(make(tmp_path, "true")).text == "Done."


def test_a_bad_end_is_told_with_all_that_was_said(tmp_path: Path) -> None:
    result = run(make(tmp_path, "sh", "-c", "echo out; echo why >&2; exit 3"))
    assert result.error == "failed"
    assert result.text == "It ended with exit code 3.\nout\n\nwhy\n"
    result = run(make(tmp_path, "sh", "-c", "kill -SEGV $$"))
    assert (result.error, result.text) == ("crashed", "It was ended by SIGSEGV.")


def test_long_output_is_shortened_while_it_comes(tmp_path: Path) -> None:
    code = "import sys\nfor _ in range(1000): sys.stdout.write('x' * 99_999 + '\\n')"
    before = read_rss()
    result = run(make(tmp_path, *python(code), max_output="10KiB"))
    assert result.error is None
    assert result.size == 100_000_000
    assert 5_000 < len(result.text) <= 10 * 1024
    assert "bytes left out" in result.text
    assert read_rss() - before < 32 * 2**20


def read_rss() -> int:
    """Bytes; 0 where the system does not tell."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0


def test_a_report_of_failure_keeps_to_the_limit_as_well(tmp_path: Path) -> None:
    command = "seq 10000; seq 10000 >&2; exit 1"
    result = run(make(tmp_path, "sh", "-c", command, max_output="1KiB"))
    assert result.text.startswith("It ended with exit code 1.\n1\n2\n")
    assert len(result.text.encode()) <= 1024


def test_what_it_left_behind_ends_with_it(tmp_path: Path, pids: Path) -> None:
    tool = make(tmp_path, *write_escaping(tmp_path), str(pids), "once")
    assert run(tool) == ToolResult("Done.")
    assert survivors(pids) == []


def test_at_its_timeout_all_of_it_is_ended_wherever_it_went(tmp_path: Path, pids: Path) -> None:
    tool = make(tmp_path, *write_escaping(tmp_path), str(pids), timeout="1s")
    begin = time.monotonic()
    result = run(tool)
    assert result == ToolResult("It did not end within 1 s, and was ended.", error="timeout")
    assert time.monotonic() - begin >= 3.0  # it was asked, and given two seconds
    assert was_asked(pids)
    assert survivors(pids) == []


def test_a_command_that_ends_when_it_is_asked_is_not_waited_for(tmp_path: Path) -> None:
    code = "trap 'echo bye; exit 0' TERM; echo begin; sleep 60 & wait"
    begin = time.monotonic()
    result = run(make(tmp_path, "sh", "-c", code, timeout="0.5s"))
    assert time.monotonic() - begin < 2.4
    assert result.error == "timeout"
    assert result.text == "It did not end within 0.5 s, and was ended.\nbegin\nbye\n"


def test_a_cancelled_call_goes_on_nowhere(tmp_path: Path, pids: Path) -> None:
    tool = make(tmp_path, *write_escaping(tmp_path), str(pids))

    async def body() -> None:
        call = asyncio.create_task(tool.call({}, lambda progress: None))
        await asyncio.to_thread(read_pids, pids)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert survivors(pids) == []

    asyncio.run(body())
    assert not was_asked(pids)


def test_a_call_cancelled_while_it_begins_leaves_nothing(tmp_path: Path) -> None:
    tool = make(tmp_path, "sh", "-c", "echo $$ >> pids; exec sleep 60")

    async def body() -> None:
        for steps in range(0, 60, 3):
            call = asyncio.create_task(tool.call({}, lambda progress: None))
            for _ in range(steps):
                await asyncio.sleep(0.0005)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()

    descriptors = len(os.listdir("/dev/fd"))
    asyncio.run(body())
    assert len(os.listdir("/dev/fd")) == descriptors
    file = tmp_path / "pids"
    started = file.read_text().split() if file.exists() else []
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


def test_cancelling_twice_hurries_nothing(tmp_path: Path, pids: Path) -> None:
    tool = make(tmp_path, *write_escaping(tmp_path), str(pids))

    async def body() -> None:
        call = asyncio.create_task(tool.call({}, lambda progress: None))
        await asyncio.to_thread(read_pids, pids)
        call.cancel()
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert survivors(pids) == []

    asyncio.run(body())


@linux_only
def test_when_the_server_is_killed_its_commands_end(tmp_path: Path, pids: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from tests.tools.commands.support import make, run\n"
        "run(make(Path(sys.argv[1]), *sys.argv[2:]))\n"
    )

    async def body() -> None:
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, str(tmp_path)),
            *(*write_escaping(tmp_path), str(pids)),
            cwd=Path(__file__).parents[3],
        )
        try:
            await asyncio.to_thread(read_pids, pids)
        finally:
            server.kill()
            await server.wait()

    asyncio.run(body())
    eventually(lambda: survivors(pids) == [], within_s=5.0)


@linux_only
def test_a_command_that_kills_its_keeper_ends_all_the_same(tmp_path: Path) -> None:
    result = run(make(tmp_path, "sh", "-c", "echo $$ > pid; kill -9 $PPID; sleep 60"))
    assert (result.error, result.text) == ("crashed", "It was ended from outside.")
    pid = (tmp_path / "pid").read_text().strip()
    eventually(lambda: not Path(f"/proc/{pid}").exists())


SPINNING = "import os\nif os.fork() == 0: os.setsid()\nwhile True: pass"


@linux_only
def test_processor_time_is_counted_over_all_its_processes(tmp_path: Path) -> None:
    begin = time.monotonic()
    result = run(make(tmp_path, *python(SPINNING), limits={"cpu": "0.5s"}))
    assert result.error == "timeout"
    assert result.text == "It used more than 0.5 s of processor time, and was ended."
    assert time.monotonic() - begin < 10.0


@linux_only
def test_processes_and_threads_are_counted(tmp_path: Path) -> None:
    bomb = "for i in $(seq 40); do setsid sleep 60 & done; wait"
    result = run(make(tmp_path, "sh", "-c", bomb, limits={"processes": 16}))
    assert result.error == "failed"
    assert result.text == "It started more than 16 processes and threads, and was ended."
    few = "for i in $(seq 10); do sleep 0.3 & done; wait; echo done"
    assert run(make(tmp_path, "sh", "-c", few, limits={"processes": 16})).text == "done\n"


@linux_only
def test_memory_is_limited(tmp_path: Path) -> None:
    code = "x = bytearray(400 << 20)\nprint('much')"
    assert run(make(tmp_path, *python(code))).text == "much\n"
    result = run(make(tmp_path, *python(code), limits={"memory": "200MiB"}))
    assert result.error == "failed"
    assert result.text.rstrip().endswith("MemoryError")


def test_the_size_of_files_is_limited(tmp_path: Path) -> None:
    command = ("dd", "if=/dev/zero", "of=f", "bs=65536", "count=32")
    result = run(make(tmp_path, *command, limits={"file_size": "1MiB"}))
    assert result.error == "failed"
    assert result.text.startswith("It wrote a file larger than 1MiB, and was ended.")
    assert (tmp_path / "f").stat().st_size == 2**20


def test_calls_run_side_by_side(tmp_path: Path) -> None:
    tool: CommandTool = make(
        tmp_path, "sh", "-c", 'sleep 0.5; echo "$1"', "sh", "{x}", parameters=texts("x")
    )

    async def body() -> list[ToolResult]:
        calls = (tool.call({"x": str(number)}, lambda progress: None) for number in range(6))
        return await asyncio.gather(*calls)

    begin = time.monotonic()
    results = asyncio.run(body())
    assert time.monotonic() - begin < 2.5
    assert [result.text for result in results] == [f"{number}\n" for number in range(6)]
