"""Events that come while somebody types."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator

import pytest

from lmrun.cli.listening import Listening


def is_ringing(listening: Listening[int], within_s: float = 5.0) -> bool:
    return bool(select.select([listening], [], [], within_s)[0])


def test_events_come_in_their_order_and_end() -> None:
    with Listening([1, 2, 3]) as listening:
        assert list(listening) == [1, 2, 3]
        assert list(listening) == [], "the end stays the end"


def test_what_ended_them_is_raised_where_they_are_taken() -> None:
    def break_off() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with Listening(break_off()) as listening:
        assert next(listening) == 1
        for _ in range(2):
            with pytest.raises(ValueError, match="broken"):
                next(listening)


def test_what_is_looked_at_is_still_there() -> None:
    go_on = threading.Event()

    def events() -> Iterator[int]:
        yield 1
        assert go_on.wait(10)
        yield 2

    with Listening(events()) as listening:
        assert is_ringing(listening)
        assert listening.look() == ([1], False)
        assert not is_ringing(listening, 0.05), "nothing new"
        go_on.set()
        assert is_ringing(listening)
        while not listening.look()[1]:
            assert is_ringing(listening)
        assert listening.look() == ([1, 2], True)
        assert list(listening) == [1, 2]


def test_many_events_fill_no_pipe() -> None:
    with Listening(range(100_000)) as listening:
        assert is_ringing(listening)
        assert sum(1 for _ in listening) == 100_000


def test_whoever_does_not_listen_any_more_holds_nothing_up() -> None:
    go_on, is_over = threading.Event(), threading.Event()

    def events() -> Iterator[int]:
        assert go_on.wait(10)
        yield 1
        is_over.set()

    with Listening(events()):
        pass
    go_on.set()
    assert is_over.wait(10)
