"""What scripts are read with: text up to markers, white space around calls, markup that is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lmrun.chat.formats.base import CallBroken, Piece, Text, Thought
from lmrun.chat.formats.reading.feed import Feed, Malformed, ScriptParser, Steps, read_calls

READ = Callable[[Feed], Steps[None]]


def read_all(script: READ, text: str) -> list[Piece]:
    parser = ScriptParser(script)
    return [*parser.push(text), *parser.finish()]


def read_named(feed: Feed) -> Steps[None]:
    """`<call>name.`, where a name with an `x` breaks behind its beginning."""
    name, _ = yield from feed.until(".")
    yield from feed.start_call(name)
    if "x" in name:
        raise Malformed
    yield from feed.end_call()


def say(text: str) -> str:
    """What is text of an answer with calls like `<call>name.`."""
    pieces = read_all(lambda feed: read_calls(feed, {"<call>": read_named}), text)
    return "".join(p.text for p in pieces if isinstance(p, Text | CallBroken))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a <call>f. b", "a b"),
        ("a\n\n<call>f.<call>g.\n b", "a\n\nb"),
        ("a<call>f.\nb", "a\nb"),
        ("a<call>f.b", "ab"),
        (" <call>f. a ", "a "),
        ("a <call>f. ", "a"),
        (" a ", " a "),
        (" ", " "),
        ("a <call>f. <call>x. b", "a <call>x. b"),
        (" <call>x.", "<call>x."),
        ("a <call>f", "a <call>f"),
        ("a <cal", "a <cal"),
        ("<call>" + "n" * 300 + ".", "<call>" + "n" * 300 + "."),
        ("<call> .", "<call> ."),
    ],
)
def test_white_space_around_calls_separates_the_texts_around_them_once(
    text: str, said: str
) -> None:
    assert say(text) == said


def test_nothing_that_may_become_markup_is_given_out() -> None:
    parser = ScriptParser(lambda feed: read_calls(feed, {"<call>": read_named}))
    assert parser.push("Hi <ca") == [Text("Hi")]
    assert parser.push("t>") == [Text(" <cat>")]
    assert parser.push(" ") == []
    assert parser.finish() == [Text(" ")]


def test_of_markers_at_one_place_the_longest_counts() -> None:
    def script(feed: Feed) -> Steps[None]:
        while marker := (yield from feed.say_until("--", "---", "-->")):
            yield Thought(marker)

    for text in ("a---b", "a-->b", "a--b"):
        marker = text[1:-1]
        expected = [Text("a"), Thought(marker), Text("b")]
        assert read_all(script, text) == expected
        parser = ScriptParser(script)
        pieces = [piece for character in text for piece in parser.push(character)]
        assert [*pieces, *parser.finish()] == expected


def test_reasoning_stands_without_white_space_around_it_and_in_paragraphs() -> None:
    def script(feed: Feed) -> Steps[None]:
        while (yield from feed.say_until("<")):
            yield from feed.think_until(">")

    pieces = read_all(script, "<\n a b \n>< c ><  >d< e")
    thoughts = "".join(piece.text for piece in pieces if isinstance(piece, Thought))
    assert thoughts == "a b\n\nc\n\ne"
    assert [piece for piece in pieces if isinstance(piece, Text)] == [Text("d")]
