"""A server that is killed at any named point of any change: a restart finds a whole state, no
worker is left, no half file, and the same change leads to the same end.

`make crashes` kills at every point that each change passes; the tests do so once for each point.
"""

from __future__ import annotations

import ast
import os
import signal
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from types import TracebackType

import pytest

from lmrun.errors import LmrunError
from lmrun.profile.lock import lock_path
from tests.server.crashes.scenarios import FILED, A, Change, make_scenarios
from tests.support.crashing import Crasher
from tests.support.profiles import write_profile, write_script
from tests.support.server import Server, eventually, is_alive
from tests.tools.act.crashing import POINTS as RUNS

PACKAGE = Path(__file__).parents[3] / "lmrun"
AT_EVERY_POINT = os.environ.get("LMRUN_CRASHES") == "all"
BY_AND_BY = frozenset({"measurement.memory"})
"""Passed by a server that is left alone for a while, whatever was changed before."""
LOCKED = FILED | {"lock.pinned"}
NAMES = ["load", "unload", "blue_green", "recreate", "refused", "returned", "rollback"]
NAMES += ["adopt", "listen", "memory", "fetch", "git", "git refused"]


def find_points() -> frozenset[str]:
    """The names of all failpoints in the code."""
    calls = (
        node
        for module in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "reach"
    )
    arguments = [call.args[0] for call in calls]
    assert all(isinstance(it, ast.Constant) for it in arguments)
    return frozenset(str(it.value) for it in arguments if isinstance(it, ast.Constant))


def test_every_failpoint_of_the_code_is_crashed_at(tmp_path: Path) -> None:
    scenarios = make_scenarios(tmp_path)
    assert [*scenarios] == NAMES
    covered = LOCKED.union(
        {"rest.written", "rest.committed"}, RUNS, *(it.points for it in scenarios.values())
    )
    assert covered == find_points()


def choose(name: str, scenarios: Mapping[str, Change]) -> frozenset[str]:
    """The points of this scenario that no earlier one is crashed at."""
    earlier = NAMES[: NAMES.index(name)]
    return scenarios[name].points.difference(*(scenarios[other].points for other in earlier))


class House:
    """A home, and the servers on it that die, one after the other."""

    def __init__(self, folder: Path, scenario: Change) -> None:
        self.crasher = Crasher(folder)
        self._home = folder / "home"
        self._home.mkdir()
        self._scenario = scenario

    def __enter__(self) -> House:
        self.start()
        self._scenario.reset(self.server)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.__exit__(kind, error, trace)

    def start(self) -> None:
        self.server = Server(
            self._home,
            *self._scenario.arguments,
            environment=self._scenario.environment,
            program=self.crasher.program,
        ).__enter__()

    def find_points(self) -> frozenset[str]:
        """Those that the change passes when nothing dies."""
        # What is still written down of the changes before is none of this one's.
        eventually(lambda: self.server.control.history().generations[0].state == "converged")
        self.crasher.forget()
        self._scenario.change(self.server)
        eventually(lambda: self._scenario.points <= self.crasher.reached)
        reached = self.crasher.reached - BY_AND_BY
        self._scenario.reset(self.server)
        return self._scenario.points | reached

    def survive(self, point: str) -> None:
        """Die at `point`, come back whole, and do it again to the end."""
        scenario = self._scenario
        with suppress(LmrunError, OSError, AssertionError):
            self.crasher.arm(point)
            scenario.change(self.server)
        self.require_dead()
        self._require_sound_databases()
        self.start()
        eventually(lambda: scenario.is_whole(self.server), within_s=30.0)
        scenario.change(self.server)
        eventually(lambda: scenario.is_after(self.server), within_s=30.0)
        assert [*self._home.parent.rglob("*.part")] == []
        scenario.reset(self.server)

    def require_dead(self) -> None:
        """The server was killed, and nobody that it has started outlives it."""
        assert self.server.process.wait(20) == -signal.SIGKILL
        self.server.end()
        self.crasher.disarm()
        for pid in self.crasher.children:
            eventually(partial(is_gone, pid), within_s=5.0)

    def _require_sound_databases(self) -> None:
        for database in self._home.glob("*.db"):
            with closing(sqlite3.connect(database)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def is_gone(pid: int) -> bool:
    return not is_alive(pid)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", NAMES)
def test_a_server_killed_in_the_midst_of_a_change_comes_back_whole(
    tmp_path: Path, name: str
) -> None:
    scenarios = make_scenarios(tmp_path)
    with House(tmp_path, scenarios[name]) as house:
        points = house.find_points() if AT_EVERY_POINT else choose(name, scenarios)
        for point in sorted(points):
            house.survive(point)
            print(f"{name}: {point}")


@pytest.mark.parametrize("point", ["rest.written", "rest.committed"])
def test_a_server_killed_while_it_is_stopped_for_good_runs_or_rests(
    tmp_path: Path, point: str
) -> None:
    scenario = make_scenarios(tmp_path)["load"]
    with House(tmp_path, scenario) as house:
        house.crasher.arm(point)
        with pytest.raises(LmrunError):
            house.server.control.down()
        house.require_dead()
        house.start()
        if point == "rest.written":
            eventually(lambda: scenario.is_before(house.server))
        else:
            assert house.server.status.profile is None
        house.server.control.down()
        assert house.server.process.wait(20) == 0


@pytest.mark.parametrize("point", sorted(LOCKED))
def test_a_lock_that_is_killed_leaves_the_former_file_or_the_new_one(
    tmp_path: Path, point: str
) -> None:
    write_script(tmp_path / "a.scripted.json")
    profile = write_profile(tmp_path / "p.yaml", {"a": dict(A)}, port=0)
    crasher = Crasher(tmp_path)
    lock_path(profile).write_text("former")

    def lock() -> int:
        command = [*crasher.program, "lock", str(profile)]
        environment = {**os.environ, "LMRUN_HOME": str(tmp_path / "home")}
        return subprocess.run(command, env=environment, capture_output=True, timeout=60).returncode

    crasher.arm(point)
    assert lock() == -signal.SIGKILL
    is_new = point == "file.replaced"
    assert (lock_path(profile).read_text() != "former") is is_new
    crasher.disarm()
    assert lock() == 0
    again = lock_path(profile).read_bytes()
    assert lock() == 0
    assert lock_path(profile).read_bytes() == again
    assert [*tmp_path.rglob("*.part")] == []
