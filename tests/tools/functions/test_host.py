"""What a host makes of declared functions: specs, faults told with their place, changed files."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lmrun.profile.tooling.tools import ToolConfig
from lmrun.tools.functions.host import FunctionHost
from tests.support.server import eventually, is_alive
from tests.tools.functions.support import call, hosting, run, write

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel offers it on Linux")


def test_what_tools_are_like_comes_from_the_function_and_the_profile(tmp_path: Path) -> None:
    write(
        tmp_path,
        '''
        def cryptic(a: int, b: int = 2) -> int:
            """Do something."""
            return a + b

        def plain(a, b): return a
        ''',
    )
    cryptic = {
        "python": "tools:cryptic",
        "description": "Given two numbers a and b, returns the sum of them.",
        "parameters": {"a": {"description": "The first.", "minimum": 0}},
        "optional": ["b"],
        "policy": "allow",
        "effects": ["network"],
        "untrusted": True,
        "idempotent": True,
        "export": True,
        "timeout": "7s",
    }
    parameters = {"a": {"type": "integer"}, "b": {"type": "string"}}
    plain = {"python": "tools:plain", "parameters": parameters}

    async def body() -> None:
        async with hosting(tmp_path, "cryptic", tools={"add": cryptic, "plain": plain}) as host:
            assert list(host.tools) == ["cryptic", "add", "plain"]
            by_itself = host.tools["cryptic"].spec
            assert (by_itself.name, by_itself.description) == ("cryptic", "Do something.")
            assert (by_itself.policy, by_itself.effects) == ("ask", frozenset({"write", "network"}))
            assert not by_itself.is_untrusted
            spec = host.tools["add"].spec
            assert (spec.path, spec.name, spec.timeout_s) == ("add", "add", 7.0)
            assert spec.description == cryptic["description"]
            assert spec.parameters == {
                "type": "object",
                "properties": {
                    "a": {"type": "integer", "description": "The first.", "minimum": 0},
                    "b": {"type": "integer", "default": 2},
                },
                "required": ["a"],
                "additionalProperties": False,
            }
            assert (spec.policy, spec.effects) == ("allow", frozenset({"network"}))
            assert spec.is_untrusted
            assert spec.is_idempotent
            assert spec.is_exported
            result = await call(host, "add", a=1)
            assert (result.text, result.is_untrusted) == ("3", True)
            assert host.tools["plain"].spec.parameters["properties"] == parameters

    run(body())


def test_a_function_that_cannot_be_is_missing_alone_and_the_reason_is_told(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        def good(a: int) -> int: return a
        def many(*a): pass
        value = 1
        """,
    )
    syntax = write(tmp_path, "def f(:\n  pass\n", "syntax")
    needs = write(tmp_path, "import os\nimport no_such_package\n", "needs")
    write(tmp_path, "import sys\nsys.exit(4)\n", "leaves")
    write(tmp_path, "import os\nos._exit(4)\n", "quits")
    write(tmp_path, "import helper\n", "deep")
    helper = write(tmp_path, "def f():\n    1 / 0\nf()\n", "helper")
    write(tmp_path, "def f(): pass\n", "json")

    def tool(python: str, **fields: Any) -> dict[str, Any]:
        return {"python": python, **fields}

    tools = {
        "missing": tool("tools:god"),
        "value": tool("tools:value"),
        "syntax": tool("syntax:f"),
        "needs": tool("needs:f"),
        "leaves": tool("leaves:f"),
        "quits": tool("quits:f"),
        "nowhere": tool("nowhere:f"),
        "deep": tool("deep:f"),
        "json": tool("json:f"),
        "cwd": tool("tools:good", cwd="nowhere"),
        "extra": tool("tools:good", parameters={"z": {}}),
        "optional": tool("tools:good", optional=["a"]),
        "unknown": tool("tools:good", optional=["z"]),
    }

    async def body() -> None:
        async with hosting(tmp_path, "good", "many", tools=tools) as host:
            assert list(host.tools) == ["good"]
            assert (await call(host, "good", a=1)).text == "1"
            faults = dict(host.faults)
        begins = {
            "many": "`many`: the parameter `a` takes any number of values; a model gives arguments",
            "missing": f"{file}: there is no `god`; did you mean `good`?",
            "value": "`value` is no function that can be looked into: 1 is not a callable object",
            "syntax": f"{syntax}:1: SyntaxError: ",
            "needs": f"{needs}:2: ModuleNotFoundError: No module named 'no_such_package'",
            "leaves": f"{tmp_path}/leaves.py:2: SystemExit: 4",
            "quits": "importing `quits` ended its process (exit code 4)",
            "nowhere": f"there is no module `nowhere` in {tmp_path}",
            "deep": f"{helper}:2: ZeroDivisionError: division by zero",
            "json": "`json` is already the name of a module that lmrun or Python uses; give the",
            "cwd": f"no process can be started in {tmp_path}/nowhere: No such file or directory",
            "extra": "`parameters.z` is no parameter of `good`",
            "optional": "`optional` names 'a', for which `good` has no default",
            "unknown": "`optional` names 'z', which is no parameter of `good`",
        }
        assert {key: faults[key][: len(begin)] for key, begin in begins.items()} == begins
        assert set(faults) == set(begins)

    run(body())


def test_a_module_that_is_never_imported_is_given_up(tmp_path: Path) -> None:
    write(tmp_path, "import time\ntime.sleep(100)\ndef f(): pass\n", "hangs")
    write(tmp_path, "def f(): pass\n")

    async def body() -> None:
        begin = time.monotonic()
        hangs = {"python": "hangs:f"}
        async with hosting(tmp_path, "f", tools={"hangs": hangs}, start_timeout_s=5.0) as host:
            assert time.monotonic() - begin < 9.0
            assert host.faults == {"hangs": "`hangs` was not imported within 5 s"}
            assert list(host.tools) == ["f"]

    run(body())


def test_modules_of_two_directories_may_have_the_same_name(tmp_path: Path) -> None:
    folders = {"a": tmp_path / "a", "b": tmp_path / "b"}
    for name, folder in folders.items():
        folder.mkdir()
        write(folder, f"import other\ndef which() -> str: return '{name}' + other.name")
        write(folder, f"name = '{name}'", "other")
    configs = {key: ToolConfig.model_validate({"python": "tools:which"}) for key in folders}

    async def body() -> None:
        host = await FunctionHost.open(configs, folders, os.environ)
        try:
            assert host.faults == {}
            texts = [(await call(host, key)).text for key in folders]
        finally:
            await host.close()
        assert texts == ["aa", "bb"]

    run(body())


def test_nothing_is_written_beside_the_profile(tmp_path: Path) -> None:
    write(tmp_path, "import other\ndef f(): pass")
    write(tmp_path, "", "other")

    async def body() -> None:
        async with hosting(tmp_path, "f") as host:
            await call(host, "f")

    run(body())
    assert {path.name for path in tmp_path.iterdir()} == {"tools.py", "other.py"}


def test_a_changed_file_counts_from_the_next_call_on(tmp_path: Path) -> None:
    write(tmp_path, "import other\ndef f(a: int) -> int: return other.number")
    write(tmp_path, "number = 1", "other")

    async def body() -> None:
        async with hosting(tmp_path, "f") as host:
            assert (await call(host, "f", a=0)).text == "1"
            write(tmp_path, "number = 2", "other")  # as long, perhaps within the same second
            assert (await call(host, "f", a=0)).text == "2"
            write(tmp_path, "def f(a: str) -> str:\n  'New.'\n  return a * 2")
            assert (await call(host, "f", a="x")).text == "xx"
            spec = host.tools["f"].spec
            assert spec.description == "New."
            assert spec.parameters["properties"] == {"a": {"type": "string"}}
            file = write(tmp_path, "def g(): pass")
            gone = await call(host, "f", a="x")
            assert gone.error == "failed"
            assert gone.text == f"It cannot be called: {file}: there is no `f`."
            assert host.tools["f"].spec == spec
            write(tmp_path, "def f(a: int) -> int: return a")
            assert (await call(host, "f", a=5)).text == "5"

    run(body())


def test_opening_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path, "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(100)")
    file = tmp_path / "pid"

    async def body() -> None:
        configs = {"f": ToolConfig.model_validate({"python": "tools:f"})}
        opening = asyncio.create_task(FunctionHost.open(configs, {"f": tmp_path}, os.environ))
        await asyncio.to_thread(eventually, lambda: file.exists() and file.read_text())
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert not is_alive(int(file.read_text()))

    run(body())


@linux_only
def test_when_the_server_is_killed_its_functions_end(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
        import os, subprocess, time
        def f() -> None:
            other = subprocess.Popen(["sleep", "300"], start_new_session=True)
            open("pids.new", "w").write(f"{os.getpid()} {other.pid}")
            os.rename("pids.new", "pids")
            time.sleep(300)
        """,
    )
    program = """
import asyncio, sys
from pathlib import Path
from tests.tools.functions.support import call, hosting

async def body():
    async with hosting(Path(sys.argv[1]), "f") as host:
        await call(host, "f")

asyncio.run(body())
"""
    file = tmp_path / "pids"

    async def body() -> None:
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, str(tmp_path)), cwd=Path(__file__).parents[3]
        )
        try:
            await asyncio.to_thread(eventually, file.exists)
        finally:
            server.kill()
            await server.wait()

    run(body())
    pids = [int(pid) for pid in file.read_text().split()]
    eventually(lambda: not any(is_alive(pid) for pid in pids), within_s=5.0)


@linux_only
def test_an_event_loop_that_ends_takes_everything_with_it(tmp_path: Path) -> None:
    """As a server does that is told to end while a call is being made."""
    write(tmp_path, "import os, time\ndef f():\n  open('pid', 'w').close()\n  time.sleep(300)")
    file = tmp_path / "pid"

    async def body() -> None:
        host = await FunctionHost.open(
            {"f": ToolConfig.model_validate({"python": "tools:f"})}, {"f": tmp_path}, os.environ
        )
        calling = asyncio.create_task(call(host, "f"))
        await asyncio.to_thread(eventually, file.exists)
        assert not calling.done()

    descriptors = len(os.listdir("/dev/fd"))
    asyncio.run(body())
    assert len(os.listdir("/dev/fd")) == descriptors
