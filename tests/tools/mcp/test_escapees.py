"""Processes that an MCP server has sent out of its group and its session: they end with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lmrun.errors import McpUnreachable
from lmrun.tools.mcp.transport.launching import Launch
from lmrun.tools.mcp.transport.stdio import StdioLink
from tests.support.server import eventually as eventually_sync
from tests.support.server import is_alive
from tests.tools.mcp.support import call, declare, eventually, hosting, run

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells who came of a process that left its group"
)

HOSTING = """
import asyncio
from tests.tools.mcp.support import call, declare, hosting

async def main():
    async with hosting({"s": declare("sends_one_away")}) as host:
        print((await call(host, "s", "poke")).text, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def test_they_end_when_the_server_is_ended() -> None:
    async def body() -> list[int]:
        async with hosting({"s": declare("sends_one_away")}) as host:
            pids: list[int] = json.loads((await call(host, "s", "poke")).text)
            assert all(map(is_alive, pids))
            assert os.getsid(pids[1]) != os.getsid(pids[0])
        assert not any(map(is_alive, pids))
        return pids

    assert len(run(body())) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_they_end_when_the_server_ends_by_itself(number: signal.Signals) -> None:
    async def body() -> None:
        async with hosting({"s": declare("sends_one_away")}) as host:
            pids: list[int] = json.loads((await call(host, "s", "poke")).text)
            os.kill(pids[0], number)
            await eventually(lambda: not any(map(is_alive, pids)), within_s=5.0)

    run(body())


def test_they_end_when_lmrun_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOSTING],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        text=True,
    ) as host:
        assert host.stdout is not None
        pids = json.loads(host.stdout.readline())
        host.send_signal(signal.SIGKILL)

    assert len(pids) == 2
    eventually_sync(lambda: not any(map(is_alive, pids)), within_s=5.0)


def test_nothing_is_left_when_the_one_who_keeps_it_is_killed() -> None:
    """All but those that only he could find."""

    async def body() -> None:
        async with hosting({"s": declare()}) as host:
            await host.tools("s")
            pid = host.statuses()["s"].pid or 0
            keeper = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            assert keeper != os.getpid()
            os.kill(keeper, signal.SIGKILL)
            await eventually(lambda: not is_alive(pid), within_s=5.0)
            await eventually(lambda: host.statuses()["s"].pid not in (None, pid))
            assert (await call(host, "s", "echo", text="again")).text == "again"

    run(body())


@pytest.mark.parametrize("text", ["no program\n", "#!/nowhere/at/all\n"])
def test_what_the_system_does_not_start_is_said_with_its_reason(tmp_path: Path, text: str) -> None:
    program = tmp_path / "serve"
    program.write_text(text)
    program.chmod(0o755)

    async def body() -> None:
        launch = Launch(program, ("serve",), tmp_path, {})
        with pytest.raises(McpUnreachable) as caught:
            await StdioLink.start(launch)
        why = "No such file or directory" if text.startswith("#!") else "Exec format error"
        assert caught.value.message == f"It cannot be started: {program}: {why}."

    run(body())
