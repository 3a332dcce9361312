"""Conversations: kept within bounds, the ones in use longest, and gone when they are deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lmrun.errors import StoreError
from lmrun.store.conversations import MAX_AGE_S, Conversations, Turn

KIND = "responses"


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def small(tmp_path: Path, clock: Clock) -> Iterator[Conversations]:
    """Room for four turns and for 100 bytes."""
    opened = Conversations(tmp_path / "c.db", max_turns=4, max_bytes=100, now=clock)
    yield opened
    opened.close()


def turn(id: str, previous: str | None = None, content: bytes = b"x") -> Turn:
    return Turn(id, previous, content)


def ids(conversations: Conversations, id: str) -> list[str]:
    return [turn.id for turn in conversations.read_chain(KIND, id)]


def kept(conversations: Conversations, *candidates: str) -> list[str]:
    return [id for id in candidates if conversations.read(KIND, id) is not None]


def test_a_turn_comes_back_as_it_was(small: Conversations) -> None:
    given = Turn("a", None, b"\x00\xff")
    small.add(KIND, given)
    assert small.read(KIND, "a") == given
    assert small.read(KIND, "b") is None


def test_kinds_have_ids_of_their_own(small: Conversations) -> None:
    small.add(KIND, turn("a", content=b"1"))
    small.add("chats", turn("a", content=b"2"))
    assert small.read(KIND, "a") == turn("a", content=b"1")
    assert small.read_chain("chats", "a") == [turn("a", content=b"2")]
    assert small.delete("chats", "a")
    assert kept(small, "a") == ["a"]


def test_a_chain_begins_with_the_oldest_turn(small: Conversations) -> None:
    small.add(KIND, turn("a", content=b"1"))
    small.add(KIND, turn("b", "a", b"22"))
    small.add(KIND, turn("c", "b", b"333"))
    small.add(KIND, turn("fork", "a"))
    assert ids(small, "c") == ["a", "b", "c"]
    assert ids(small, "fork") == ["a", "fork"]
    assert small.measure(KIND, "c") == 6
    assert small.read_chain(KIND, "nobody") == []
    assert small.measure(KIND, "nobody") == 0


def test_it_outlives_the_process_that_wrote_it(tmp_path: Path) -> None:
    before = Conversations(tmp_path / "c.db")
    before.add(KIND, turn("a"))
    before.close()
    after = Conversations(tmp_path / "c.db")
    assert after.read(KIND, "a") == turn("a")
    after.close()


def test_without_a_file_it_lasts_as_long_as_it_is_open() -> None:
    conversations = Conversations()
    conversations.add(KIND, turn("a"))
    assert conversations.read(KIND, "a") == turn("a")
    conversations.close()


def test_it_is_for_its_user_only(small: Conversations, tmp_path: Path) -> None:
    small.add(KIND, turn("a"))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_the_turns_unused_for_longest_go_first(small: Conversations, clock: Clock) -> None:
    for id in ("a", "b", "c", "d", "e", "f"):
        small.add(KIND, turn(id))
        clock.now += 1
    assert kept(small, "a", "b", "c", "d", "e", "f") == ["c", "d", "e", "f"]


def test_large_turns_push_out_older_ones(small: Conversations, clock: Clock) -> None:
    for id in ("a", "b"):
        small.add(KIND, turn(id, content=b"x" * 30))
        clock.now += 1
    small.add(KIND, turn("c", content=b"x" * 70))
    assert kept(small, "a", "b", "c") == ["b", "c"]
    small.add(KIND, turn("d", content=b"x" * 100))
    assert kept(small, "b", "c", "d") == ["d"]


def test_what_cannot_fit_is_refused_and_pushes_out_nothing(small: Conversations) -> None:
    small.add(KIND, turn("a"))
    with pytest.raises(StoreError, match="A turn of 101 bytes cannot be kept; 100 can be"):
        small.add(KIND, turn("b", content=b"x" * 101))
    assert kept(small, "a", "b") == ["a"]


def test_a_conversation_in_use_keeps_its_beginning(small: Conversations, clock: Clock) -> None:
    small.add(KIND, turn("begin"))
    clock.now += 1
    for id in ("x", "y"):
        small.add(KIND, turn(id))
        clock.now += 1
    small.add(KIND, turn("end", "begin"))
    clock.now += 1
    small.add(KIND, turn("new"))
    assert kept(small, "x", "y", "new") == ["y", "new"]
    assert ids(small, "end") == ["begin", "end"]


def test_the_end_of_a_conversation_goes_before_its_beginning(
    small: Conversations, clock: Clock
) -> None:
    small.add(KIND, turn("a"))
    small.add(KIND, turn("b", "a"))
    small.add(KIND, turn("c", "b"))
    clock.now += 1
    small.add(KIND, turn("x"))
    small.add(KIND, turn("y"))
    assert kept(small, "a", "b", "c") == ["a", "b"]


def test_an_old_turn_is_gone_even_before_it_is_dropped(small: Conversations, clock: Clock) -> None:
    small.add(KIND, turn("a"))
    clock.now += MAX_AGE_S + 1
    assert kept(small, "a") == []
    assert ids(small, "a") == []


def test_what_is_deleted_is_gone_from_the_disk(small: Conversations, tmp_path: Path) -> None:
    secret = b"a secret that nobody may find again"
    small.add(KIND, turn("a", content=secret))
    small.add(KIND, turn("b", "a"))
    assert small.delete(KIND, "a")
    assert not small.delete(KIND, "a")
    assert all(secret not in path.read_bytes() for path in tmp_path.iterdir())
    (rest,) = small.read_chain(KIND, "b")
    assert rest.previous == "a"


def test_an_id_cannot_be_taken_twice(small: Conversations) -> None:
    small.add(KIND, turn("a"))
    with pytest.raises(StoreError, match="UNIQUE"):
        small.add(KIND, turn("a", content=b"other"))
    assert small.read(KIND, "a") == turn("a")


def test_a_damaged_file_is_named_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "c.db").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match=r"move c\.db away and start the server again"):
        Conversations(tmp_path / "c.db")
