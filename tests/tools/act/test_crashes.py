"""A process that is killed at any step of a run with four calls: the next one ends the run, makes
no finished call again, and one that had begun only if that is as good as once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmrun.store.runs import StoredRuns
from lmrun.tools.act.journal import read_steps
from lmrun.tools.act.records import describe
from lmrun.tools.act.requests import RunDetail
from lmrun.tools.act.steps import Transcript
from tests.tools.act.crashing import CALLS, DIED, IN_TOOL, POINTS, REQUEST, Crasher


@pytest.fixture(scope="module")
def crasher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crasher]:
    with Crasher(tmp_path_factory.mktemp("crashes")) as crasher:
        yield crasher


def look(folder: Path) -> tuple[RunDetail | None, Transcript]:
    """The one run of a home, if there is one, and its steps."""
    store = StoredRuns(folder / "runs.db")
    try:
        runs = store.read_all(None, 10)
        assert len(runs) <= 1
        steps = read_steps(store, runs[0].id) if runs else []
        transcript = Transcript(REQUEST.messages, steps)
        return (describe(runs[0], transcript, ()) if runs else None), transcript
    finally:
        store.close()


def count(folder: Path) -> Counter[str]:
    """How often each call was made."""
    counted = folder / "counted"
    return Counter(counted.read_text().split() if counted.exists() else [])


def find_states(transcript: Transcript) -> tuple[set[str], set[str]]:
    """The calls that had begun, and those of them that had finished."""
    names = [["c1"], ["c2", "c3"], ["c4"], []]
    begun = {names[n][index] for n, it in enumerate(transcript.rounds) for index in it.started}
    done = {names[n][index] for n, it in enumerate(transcript.rounds) for index in it.finished}
    return begun, done


def require_sound_end(folder: Path, begun: set[str], done: set[str], before: Counter[str]) -> None:
    """The run has come to its answer, after a death at which `begun` and `done` were written."""
    detail, transcript = look(folder)
    assert detail is not None
    assert (detail.summary.state, detail.text) == ("completed", "four")
    assert transcript.opened is not None
    times = (folder / "read").read_text()
    assert transcript.opened.context[0].content == f"read {times} times"
    made = count(folder)
    results = {
        call: transcript.rounds[n].finished[index].result.error
        for call, (n, index) in {"c1": (0, 0), "c2": (1, 0), "c3": (1, 1), "c4": (2, 0)}.items()
    }
    for call, tool in CALLS.items():
        if call in done or call not in begun:
            assert (made[call], results[call]) == (1, None), call
        elif tool == "once":
            assert (made[call], results[call]) == (before[call], "unknown_outcome"), call
        else:
            assert (made[call], results[call]) == (before[call] + 1, None), call


def test_a_run_that_nobody_kills_passes_every_point(crasher: Crasher) -> None:
    folder = crasher.folder / "whole"
    status, reached = crasher.live(folder)
    assert status == 0
    assert set(reached) == POINTS | {IN_TOOL}
    require_sound_end(folder, set(), set(), Counter())
    assert count(folder) == dict.fromkeys(CALLS, 1)


@pytest.mark.timeout(180)
def test_a_run_killed_at_any_point_is_ended_by_the_next_process(crasher: Crasher) -> None:
    died_at: set[str] = set()
    left_open: set[str] = set()
    for place in range(1, 100):
        folder = crasher.folder / f"at {place}"
        status, reached = crasher.live(folder, die_at=place)
        if status == 0:
            break
        assert (status, len(reached)) == (DIED, place)
        died_at.add(reached[-1])
        _, transcript = look(folder)
        begun, done = find_states(transcript)
        was_opened = transcript.opened
        before = count(folder)
        assert max(before.values(), default=0) <= 1
        assert crasher.live(folder)[0] == 0
        assert not (folder / "error").exists()
        require_sound_end(folder, begun, done, before)
        if was_opened is not None:
            assert look(folder)[1].opened == was_opened
        left_open |= {CALLS[call] for call in begun - done}
    assert place > 40
    assert died_at == POINTS | {IN_TOOL}
    assert left_open == {"again", "once"}


@pytest.mark.timeout(180)
def test_a_run_killed_again_while_it_goes_on_is_ended_all_the_same(crasher: Crasher) -> None:
    _, reached = crasher.live(crasher.folder / "reference")
    in_second_round = reached.index("act.call_finishing", reached.index("act.call_finished")) + 1
    died_at: set[str] = set()
    for place in range(1, 100):
        folder = crasher.folder / f"again at {place}"
        assert crasher.live(folder, die_at=in_second_round)[0] == DIED
        status, reached = crasher.live(folder, die_at=place)
        if status == 0:
            break
        assert status == DIED
        died_at.add(reached[-1])
        _, transcript = look(folder)
        _, done = find_states(transcript)
        before = count(folder)
        assert crasher.live(folder)[0] == 0
        detail, _ = look(folder)
        assert detail is not None and detail.summary.state == "completed"
        made = count(folder)
        assert all(made[call] == before[call] for call in done)
        assert all(made[call] <= 1 for call, tool in CALLS.items() if tool == "once")
        assert all(made[call] <= 3 for call in CALLS)
    assert died_at >= {"run.taken_over", "run.state_written", "act.call_finished", "act.ended"}
