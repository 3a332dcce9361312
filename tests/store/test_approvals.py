"""What was agreed to for good: kept, bounded, and taken back."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from lmrun.store import approvals
from lmrun.store.approvals import Approval, Approvals

GIVEN = Approval("/p.yaml", "rm", "d" * 64)


def test_nothing_is_agreed_to_before_somebody_does() -> None:
    assert not Approvals(None).holds(GIVEN)


def test_an_agreement_outlives_the_process_in_a_private_file(tmp_path: Path) -> None:
    file = tmp_path / "approvals.db"
    store = Approvals(file)
    store.add(GIVEN)
    store.close()
    again = Approvals(file)
    assert again.holds(GIVEN)
    assert again.list() == [GIVEN]
    again.close()
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("change", [{"profile": "/q.yaml"}, {"tool": "mv"}, {"arguments": "e"}])
def test_it_is_for_just_this_call_under_this_profile(change: dict[str, str]) -> None:
    store = Approvals(None)
    store.add(GIVEN)
    assert not store.holds(replace(GIVEN, **change))  # type: ignore[arg-type]  # names of texts


def test_it_holds_for_a_tainted_call_only_where_whoever_agreed_knew() -> None:
    store = Approvals(None)
    knowing = replace(GIVEN, is_tainted=True)
    store.add(GIVEN)
    assert not store.holds(knowing)
    store.add(knowing)
    assert store.holds(knowing)
    assert store.holds(GIVEN)
    store.add(GIVEN)
    assert store.holds(knowing)


def test_it_can_be_taken_back() -> None:
    store = Approvals(None)
    every = [Approval(profile, tool, "d") for profile in ("/p", "/q") for tool in ("rm", "mv")]
    for it in every:
        store.add(it)
    assert store.forget("/p", "rm") == 1
    assert store.forget(tool="mv") == 2
    assert store.list() == [Approval("/q", "rm", "d")]
    assert store.forget() == 1
    assert store.list() == []


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approvals, "KEPT_APPROVALS", 3)
    store = Approvals(None)
    given = [replace(GIVEN, arguments=str(number)) for number in range(5)]
    for it in given:
        store.add(it)
    assert store.list() == given[:1:-1]


def test_threads_share_it(tmp_path: Path) -> None:
    store = Approvals(tmp_path / "approvals.db")

    def add(name: str) -> None:
        for number in range(20):
            store.add(replace(GIVEN, tool=name, arguments=str(number)))

    threads = [threading.Thread(target=add, args=(str(it),)) for it in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(store.list()) == 80
    store.close()
