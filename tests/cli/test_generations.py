"""`lmrun history` and `lmrun rollback`: what is shown, what is asked of the server."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from lmrun.cli.commands.generations import _COLUMNS, choose_generation, render_history
from lmrun.cli.terminal import _ANSI
from lmrun.errors import GenerationUnknown, LmrunError
from lmrun.reconcile.outcome import Action, Plan, RollbackPlan
from lmrun.reconcile.records import (
    GenerationRecord,
    History,
    OutcomeRecord,
    PastAction,
    StoredProfile,
)
from lmrun.store.generations import Generations, Origin, PastOutcome
from lmrun.store.home import Home
from tests.cli.conftest import Run
from tests.support.control import FakeServer

ROOT = "/profiles/p.yaml"
UNLOAD = Action("Unload", "m", "m", ())


def record(number: int, **changes: object) -> GenerationRecord:
    plain = GenerationRecord(
        number=number,
        created=f"2026-11-25T10:00:0{number}.000+00:00",
        author="alice",
        how="apply",
        state="converged",
        is_current=False,
        files=(ROOT,),
        plan=(),
        outcomes=(),
    )
    return msgspec.structs.replace(plain, **changes)


NEWEST = record(
    3,
    is_current=True,
    state="accepted",
    plan=(PastAction("Load", "m", ()), PastAction("Load", "n", ()), PastAction("Unload", "o", ())),
    outcomes=(OutcomeRecord("Load", "m", "", 1.0, "no memory\nfor it", 2),),
)
HISTORY = History((NEWEST, record(2, state="failed"), record(1)))


@pytest.fixture
def remembering(server: FakeServer) -> FakeServer:
    """A server with three generations, of which the first can be gone back to."""
    server.answers = {
        "/lmrun/v1/history": HISTORY,
        "/lmrun/v1/generations/1": StoredProfile(
            1, ROOT, ((ROOT, "version: 1\nmodels:\n  a: {source: '${env:SOURCE}'}\n"),)
        ),
        "/lmrun/v1/rollback/plan": RollbackPlan(1, Plan(3, (UNLOAD,))),
    }
    return server


def test_history_is_a_table_with_what_failed_below_its_generation() -> None:
    lines = _ANSI.sub("", render_history(HISTORY)).splitlines()
    assert lines[0].split() == list(_COLUMNS)
    assert lines[1].startswith("3 *         2026-11-25 10:00:03  alice  apply  accepted")
    assert "2 load, 1 unload  1" in lines[1]
    assert lines[2] == "      ! Load m: no memory"
    assert [line[0] for line in lines[3:]] == ["2", "1"]


def test_history_needs_no_server(lmrun: Run, home: Path) -> None:
    assert lmrun("history").out == "Nothing was applied yet.\n"
    place = Home(home)
    place.ensure()
    generations = Generations(place.database)
    generations.add(ROOT, [(ROOT, "a")], Origin("alice", "apply"))
    generations.note(1, [PastOutcome("Load", "m", "2026-11-25T10:00:00+00:00", 1.0)])
    generations.close()
    found = json.loads(lmrun("history", "--json").out)["generations"]
    assert [(it["number"], it["author"], it["is_current"]) for it in found] == [(1, "alice", True)]
    assert found[0]["outcomes"][0]["target"] == "m"


def test_without_a_number_the_last_generation_that_converged_is_meant() -> None:
    assert choose_generation(HISTORY, None) == 1
    assert choose_generation(HISTORY, 2) == 2


@pytest.mark.parametrize("found", [History(()), History((record(1, is_current=True),))])
def test_without_an_earlier_generation_there_is_no_way_back(found: History) -> None:
    with pytest.raises(GenerationUnknown, match="no earlier generation"):
        choose_generation(found, None)


def test_the_current_generation_and_one_that_is_not_kept_are_refused() -> None:
    with pytest.raises(LmrunError, match="is the current one"):
        choose_generation(HISTORY, 3)
    with pytest.raises(GenerationUnknown, match="no generation 7"):
        choose_generation(HISTORY, 7)


def test_after_down_the_newest_generation_can_be_gone_back_to() -> None:
    resting = History((record(2), record(1)))
    assert choose_generation(resting, 2) == 2


def test_a_rollback_ships_the_values_of_the_variables_that_were_used(
    remembering: FakeServer, lmrun: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE", "file:m.gguf")
    result = lmrun("rollback", "--yes")
    assert result.code == 0, result.err
    assert "Back to generation 1:" in result.out
    assert remembering.bodies("/lmrun/v1/rollback") == [
        {"generation": 1, "environment": {"SOURCE": "file:m.gguf"}, "base_generation": None}
    ]


def test_a_rollback_that_unloads_needs_an_agreement(remembering: FakeServer, lmrun: Run) -> None:
    result = lmrun("rollback")
    assert (result.code, remembering.bodies("/lmrun/v1/rollback")) == (1, [])
    assert "This unloads m; nothing was changed." in result.err


def test_a_rollback_in_json_prints_only_events(remembering: FakeServer, lmrun: Run) -> None:
    lines = lmrun("rollback", "--yes", "--json").out.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["plan", "apply.end"]
