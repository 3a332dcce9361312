"""Runs in a process that dies where a test says: a program that takes orders as lines of JSON.

Each order is one life of a server's runs, in a child that is forked when everything is imported:
`{"folder": …, "die_at": 5}`. The child makes the one run of the folder, or goes on with it, and
dies at the fifth failpoint that it reaches; 0: at none. The answer is its exit status.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmrun import failpoints
from lmrun.chat.events import Event
from lmrun.chat.messages import Message
from lmrun.chat.request import Request
from lmrun.errors import LmrunError
from lmrun.profile.schema import Profile
from lmrun.store.runs import StoredRuns
from lmrun.tools.act.opening import ContextItem, Opened
from lmrun.tools.act.requests import ActRequest
from lmrun.tools.act.runs import Runs
from lmrun.tools.tool import ToolSpec
from tests.tools.act.stand_ins import (
    CALLER,
    ScriptedModel,
    ScriptedModels,
    StandInGate,
    StandInToolset,
    calls,
    gather,
    make_tool,
    says,
)

POINTS = frozenset(
    {
        "act.creating",
        "act.created",
        "act.opening",
        "act.opened",
        "act.answering",
        "act.answered",
        "act.call_starting",
        "act.call_started",
        "act.call_finishing",
        "act.call_finished",
        "act.ending",
        "act.ended",
        "run.written",
        "run.step_written",
        "run.state_written",
        "run.taken_over",
    }
)
"""Every failpoint of runs."""

IN_TOOL = "tool.done"
"""Inside a tool, which has just done what it is for."""

REQUEST = ActRequest(
    (Message("user", "Count to four."),),
    model="m",
    tools=("*",),
    idempotency_key="the one run",
    background=True,
)
CALLS = {"c1": "again", "c2": "once", "c3": "again", "c4": "once"}
"""Four calls, by their argument: which tool each is of. `again` is idempotent, `once` is not."""


def answer(request: Request) -> list[Event]:
    """One call, two at once, one, and then words."""
    results = sum(message.role == "tool" for message in request.messages)
    wanted = {0: ["c1"], 1: ["c2", "c3"], 3: ["c4"]}.get(results)
    if wanted is None:
        return says("four")
    return calls(*((CALLS[it], json.dumps({"call": it})) for it in wanted))


class Note:
    """A resource that says how often it was read in this folder."""

    reference = "mcp/docs/note://a"
    arguments: Mapping[str, Any] = {}
    spec = ToolSpec("mcp/docs/read_resource", "docs__read_resource", None, {}, "allow")

    def __init__(self, folder: Path) -> None:
        self._file = folder / "read"

    async def read(self) -> Opened:
        times = int(self._file.read_text()) + 1 if self._file.exists() else 1
        self._file.write_text(str(times))
        return Opened(context=(ContextItem(self.reference, f"read {times} times"),))


class Run:
    """One life of the process."""

    def __init__(self, folder: Path, die_at: int) -> None:
        self._folder = folder
        self._left = die_at
        self._lock = threading.Lock()

    def reach(self, point: str) -> None:
        # Calls of one round pass their points in several threads.
        with self._lock:
            with open(self._folder / "reached", "a") as file:
                file.write(f"{point}\n")
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    async def live(self) -> None:
        """Begin or go on, until the run has ended."""

        async def count(arguments: Mapping[str, Any]) -> str:
            with open(self._folder / "counted", "a") as file:
                file.write(f"{arguments['call']}\n")
            failpoints.reach(IN_TOOL)
            return "counted"

        tools = (make_tool("again", count, is_idempotent=True), make_tool("once", count))
        store = StoredRuns(self._folder / "runs.db")
        models = ScriptedModels(ScriptedModel(answer))
        profile = Profile(version=1)
        runs = Runs(
            models,
            lambda _: StandInToolset([tools]),
            StandInGate(),
            store,
            lambda: profile,
            sources_for=lambda _: (Note(self._folder),),
        )
        await runs.open()
        run = await runs.start(REQUEST, CALLER)
        try:
            await gather(runs.follow(run.id))
        except LmrunError as error:
            (self._folder / "error").write_text(str(error))
        await runs.close()
        store.close()


DIED = -signal.SIGKILL


class Crasher:
    """What a test holds of the process that forks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.tools.act.crashing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )

    def __enter__(self) -> Crasher:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def live(self, folder: Path, die_at: int = 0) -> tuple[int, list[str]]:
        """How a life on `folder` ended, as `subprocess` says it, and the points it passed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        folder.mkdir(exist_ok=True)
        (folder / "reached").unlink(missing_ok=True)
        self._process.stdin.write(json.dumps({"folder": str(folder), "die_at": die_at}) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        return status, (folder / "reached").read_text().split()


def main() -> None:
    """Fork a life per line, and say how it ended."""
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            life = Run(Path(order["folder"]), order["die_at"])
            failpoints.on_reach = life.reach
            asyncio.run(asyncio.wait_for(life.live(), 20))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
