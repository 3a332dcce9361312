"""Markup behind a call that is complete. It knows no format."""

from __future__ import annotations

from lmrun.chat.formats.reading.feed import Ended, Feed, Steps


def skip_closing(feed: Feed, *markers: str) -> Steps[str]:
    """Read white space and the closing marker behind a complete call, and say which it was; "" if
    none comes. Without any the call counts all the same, and so it does where the answer ends
    inside of one: what there is of it is read, and it is no text."""
    try:
        yield from feed.skip_space()
        found = yield from feed.literal(*markers)
    except Ended:
        feed.take(len(feed.text))
        found = ""
    feed.settle()
    return found
