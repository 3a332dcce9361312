"""Applies, edits, hands, crashes, kills, full disks and jumping clocks in any order: the server
always comes to what the reference says, in at most three looks that start something.

`make changes` makes many more of them.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from lmrun.errors import DiskFull, ProfileInvalid
from lmrun.profile.loader import load_profile
from tests.server.random_changes.expected import SCRIPT, Content, Declared, Expected, Policy
from tests.server.random_changes.live import PATIENCE_S, Live
from tests.support.profiles import write_script
from tests.support.quick_workers import QuickWorker

T = TypeVar("T")
RUNS = int(os.environ.get("LMRUN_RANDOM_CHANGES", "8"))
IS_LONG = "LMRUN_RANDOM_CHANGES" in os.environ
STEPS = 30
MOST_ROUNDS = 3
NAMES = st.sampled_from("abc")
LENGTHS = st.sampled_from([256, 512, 1024])
HANDS = st.lists(st.tuples(NAMES, st.none() | LENGTHS), min_size=1, max_size=4)
POLICIES: st.SearchStrategy[Policy] = st.sampled_from(["revert", "report", "adopt"])


def read_content(profile: Path) -> Content:
    """What the file says now, whoever wrote it last."""
    found = load_profile(profile, {}).profile
    models = {
        name: Declared(it.state == "loaded", it.load.context_length or 0)
        for name, it in sorted(found.models.items())
    }
    return Content(tuple(models.items()), found.drift)


class RandomChanges(RuleBasedStateMachine):
    """Each rule does the same to the server and to the reference; then they are compared."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        for name in "abc":
            write_script(self.root / f"{name}.{SCRIPT}")
        self.runner = asyncio.Runner()
        self.live = Live(self.root)
        self.expected = Expected()
        self.do(self.live.open())

    @initialize(policy=POLICIES)
    def begin(self, policy: Policy) -> None:
        self.expected.file = Content(policy=policy)
        for number, name in enumerate("abc"):
            self.expected.file = self.expected.file.with_model(name, Declared(number < 2, 512))
        self.write()
        self.apply()

    def teardown(self) -> None:
        assert not self.live.bugs
        self.do(self.live.close())
        self.live.undo()
        QuickWorker.broken.clear()
        self.runner.close()
        self.folder.cleanup()

    def do(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            async with asyncio.timeout(PATIENCE_S):
                return await work

        return self.runner.run(wait())

    def write(self) -> None:
        (self.root / "p.yaml").write_text(self.expected.file.write())

    def compare(self) -> None:
        """Wait until both are the same. A model that cannot be loaded is left out."""
        broken = self.expected.broken

        def is_same() -> bool:
            running = {name: it for name, it in self.live.running.items() if name not in broken}
            wanted = {it: n for it, n in self.expected.running.items() if it not in broken}
            number = self.live.house.reconciler.generation
            is_known = self.expected.accepted is None or number == self.expected.generation
            return self.live.is_quiet and running == wanted and is_known

        assert not self.live.bugs
        is_equal = self.do(self.live.until(is_same))
        found = (self.live.running, self.live.house.reconciler.generation, self.live.is_quiet)
        assert is_equal, (found, self.expected)
        assert read_content(self.root / "p.yaml") == self.expected.file
        assert self.live.rounds <= MOST_ROUNDS
        self.live.begin()

    @rule(name=NAMES, is_loaded=st.booleans(), length=LENGTHS)
    def edit(self, name: str, is_loaded: bool, length: int) -> None:
        self.expected.file = self.expected.file.with_model(name, Declared(is_loaded, length))
        self.write()

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self.expected.file = self.expected.file.with_model(name, None)
        self.write()

    @rule(policy=POLICIES)
    def choose_policy(self, policy: Policy) -> None:
        self.expected.file = Content(self.expected.file.models, policy)
        self.write()

    @rule()
    def apply(self) -> None:
        if self.expected.apply():
            self.do(self.live.apply())
        else:
            with pytest.raises(DiskFull):
                self.do(self.live.apply())
        self.compare()

    @rule()
    def apply_nonsense(self) -> None:
        (self.root / "p.yaml").write_text("version: 1\nmodels: {a: {sauce: file:./m}}\n")
        with pytest.raises(ProfileInvalid):
            self.do(self.live.apply())
        self.write()
        self.compare()

    @rule(changes=HANDS)
    def use_hands(self, changes: list[tuple[str, int | None]]) -> None:
        """Load with a context length, or unload."""
        if self.expected.accepted is None:
            self.apply()
        for name, length in changes:
            if self.is_free(name):
                self.change_by_hand(name, length)

    def is_free(self, name: str) -> bool:
        accepted = self.expected.accepted
        is_declared = accepted is not None and name in dict(accepted.models)
        return is_declared and name not in self.expected.broken

    def change_by_hand(self, name: str, length: int | None) -> None:
        if length is not None:
            self.do(self.live.load(name, length))
        elif name in self.expected.running:
            self.do(self.live.unload(name))
        self.expected.change_by_hand(name, length)
        self.compare()

    @rule(name=NAMES)
    def crash_worker(self, name: str) -> None:
        if name in self.live.running:
            self.live.crash_worker(name)
            self.compare()

    @rule()
    def kill_server(self) -> None:
        self.do(self.live.restart())
        self.expected.restart()
        self.compare()

    @rule(turns=st.integers(0, 12))
    def kill_server_amid_an_apply(self, turns: int) -> None:
        self.do(self.live.restart_amid_apply(turns))
        self.expected.restart()
        if self.live.newest_text == self.expected.file.write():
            # It was accepted before the end, or nothing new.
            is_rest = self.live.house.generations.is_resting()
            assert is_rest or self.expected.apply()
        self.compare()

    @rule()
    def stop_for_good(self) -> None:
        if self.expected.stop():
            self.do(self.live.stop())
        else:
            with pytest.raises(DiskFull):
                self.do(self.live.stop())
        self.compare()

    @rule()
    def fill_disk(self) -> None:
        self.live.fill_disk()
        self.expected.is_disk_full = True

    @rule()
    def make_room(self) -> None:
        self.live.make_room()
        self.expected.make_room()
        self.compare()

    @rule(hours=st.integers(-9000, 9000), is_late=st.booleans())
    def jump_clock(self, hours: int, is_late: bool) -> None:
        self.live.jump(3600.0 * hours, 3600.0 * abs(hours) if is_late else 0.0)
        self.compare()

    @rule(name=NAMES)
    def break_file(self, name: str) -> None:
        if not self.expected.hands:
            self.expected.broken.add(name)
            QuickWorker.broken.add(str(self.root / f"{name}.{SCRIPT}"))

    @rule()
    def mend_files(self) -> None:
        self.expected.broken.clear()
        QuickWorker.broken.clear()
        self.live.jump(0.0, 3600.0)
        self.compare()


@pytest.mark.timeout(3600)
def test_a_server_comes_to_what_it_should_be_whatever_happens() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        RandomChanges,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not IS_LONG,
            # Each step of a counterexample waits for what never comes: it is not made shorter.
            phases=[Phase.generate],
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
