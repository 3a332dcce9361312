"""The feed: everybody hears what he listens to, the slow lose events and are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

import pytest

from lmrun.api.telemetry.events import LogEvent, LogLost, OutputLogged, ServerLogged
from lmrun.api.telemetry.feed import MAX_CHARACTERS, MAX_EVENTS, Feed, FeedClosed, Listener

NOW = "2026-11-25T12:00:00.000Z"


def line(text: str) -> ServerLogged:
    return ServerLogged(NOW, "info", "lmrun", text)


def output(text: str) -> OutputLogged:
    return OutputLogged(NOW, 1, "m", None, text)


def say(feed: Feed, texts: Iterable[str]) -> None:
    for text in texts:
        feed.publish("server", line(text), len(text))


Hear = Callable[[Listener], list[LogEvent]]


@pytest.fixture
def hear() -> Iterator[Hear]:
    """All that waits for a listener, as often as it is asked for."""

    async def listen(listener: Listener) -> list[LogEvent]:
        heard: list[LogEvent] = []
        while (event := await listener.next(0.01)) is not None:
            heard.append(event)
        return heard

    with asyncio.Runner() as runner:
        yield lambda listener: runner.run(listen(listener))


def test_a_listener_hears_only_its_sources_in_their_order(hear: Hear) -> None:
    feed = Feed()
    with feed.listening({"server"}) as lines, feed.listening({"model", "server"}) as both:
        say(feed, ["a"])
        feed.publish("model", output("b"), 1)
        say(feed, ["c"])
        assert hear(lines) == [line("a"), line("c")]
        assert hear(both) == [line("a"), output("b"), line("c")]


def test_who_comes_late_may_have_the_last_lines_of_the_server_but_no_prompts(hear: Hear) -> None:
    feed = Feed()
    say(feed, ["a", "b", "c"])
    feed.publish("model", output("x"), 1)
    with feed.listening({"server", "model"}, last=2) as listener:
        assert hear(listener) == [line("b"), line("c")]
    with feed.listening({"server"}) as listener:
        assert hear(listener) == []
    with feed.listening({"model"}, last=2) as listener:
        assert hear(listener) == []


def test_only_a_present_listener_makes_prompts_wanted() -> None:
    feed = Feed()
    assert not feed.has_listener("model")
    with feed.listening({"server"}):
        assert not feed.has_listener("model")
        with feed.listening({"model"}):
            assert feed.has_listener("model")
    assert not feed.has_listener("model")


def test_a_slow_listener_loses_events_and_is_told_how_many(hear: Hear) -> None:
    feed = Feed()
    with feed.listening({"server"}) as slow:
        say(feed, map(str, range(MAX_EVENTS + 7)))
        heard = hear(slow)
        assert heard[MAX_EVENTS - 1 :] == [line(str(MAX_EVENTS - 1)), LogLost(7)]
        say(feed, ["later"])
        assert hear(slow) == [line("later")]


def test_what_was_lost_is_told_before_what_came_later(hear: Hear) -> None:
    feed = Feed()
    with feed.listening({"model"}) as slow:
        large = "x" * (MAX_CHARACTERS - 10)
        for text in (large, "too much by far", "y"):
            feed.publish("model", output(text), len(text))
        assert hear(slow) == [output(large), LogLost(1), output("y")]


def test_the_backlog_is_bounded_in_characters_and_recovers(hear: Hear) -> None:
    feed = Feed()
    with feed.listening({"model"}) as slow:
        for _ in range(5):
            feed.publish("model", output("x"), MAX_CHARACTERS // 2)
        assert hear(slow) == [output("x"), output("x"), LogLost(3)]
        feed.publish("model", output("y"), MAX_CHARACTERS)
        assert hear(slow) == [output("y")]


def test_a_closed_feed_says_the_rest_and_then_the_end() -> None:
    feed = Feed()
    with feed.listening({"server"}) as listener:
        say(feed, ["last words"])
        feed.close()

        async def listen() -> None:
            assert await listener.next(1) == line("last words")
            with pytest.raises(FeedClosed):
                await listener.next(1)

        asyncio.run(listen())


def test_who_listens_to_a_closed_feed_hears_the_end() -> None:
    feed = Feed()
    feed.close()

    async def listen() -> None:
        with feed.listening({"server"}) as listener, pytest.raises(FeedClosed):
            await listener.next(1)

    asyncio.run(listen())


def test_waiting_ends_with_the_next_event() -> None:
    feed = Feed()

    async def listen() -> LogEvent | None:
        with feed.listening({"server"}) as listener:
            asyncio.get_running_loop().call_soon(say, feed, ["a"])
            return await listener.next(10)

    assert asyncio.run(listen()) == line("a")
