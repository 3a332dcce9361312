"""`lmrun mcp answer` at a terminal of its own, against the real routes on a real socket."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lmrun.cli.commands.elicitations import describe_field, parse_value
from lmrun.tools.mcp.answering.forms import Choice, FormField, FormItems
from lmrun.tools.mcp.answering.questions import Elicitation, Elicited
from tests.cli.conftest import COMMAND, Run
from tests.support.questions import Questions, serving_questions
from tests.support.screen import Screen

FORM = {
    "type": "object",
    "properties": {
        "size": {"type": "integer", "description": "The size", "minimum": 30},
        "color": {"type": "string", "enum": ["red", "blue"], "default": "blue"},
        "gift": {"type": "boolean", "title": "A gift?"},
        "note": {"type": "string"},
    },
    "required": ["size", "gift"],
}
ORDER = Elicitation("shop", "Which shoes?", schema=FORM)


@pytest.fixture
def questions(home: Path) -> Iterator[Questions]:
    with serving_questions(home) as questions:
        yield questions


@contextmanager
def answering(environment: dict[str, str]) -> Iterator[Screen]:
    """The command, once it is there to be asked; ended with Ctrl-C."""
    screen = Screen([*COMMAND, "mcp", "answer"], {**environment, "TERM": "dumb"})
    try:
        screen.read_until("Waiting for questions of MCP servers; Ctrl-C ends it.")
        yield screen
    finally:
        screen.process.send_signal(signal.SIGINT)
        screen.end()


def say(screen: Screen, *turns: tuple[str, str]) -> None:
    """Wait for words, then type the answer. Words count once."""
    for words, answer in turns:
        screen.read_until(words)
        screen.text = screen.text.partition(words)[2]
        screen.type(f"{answer}\n")


def test_fields_are_asked_for_one_by_one_until_they_fit(
    questions: Questions, environment: dict[str, str]
) -> None:
    with answering(environment) as screen:
        answer = questions.ask(ORDER)
        say(screen, ("? shop asks: Which shoes?\r\n  Answer it? [y]es, [N]o, [c]ancel:", "y"))
        say(screen, ("size (The size; an integer, at least 30):", "large"))
        say(screen, ("It is an integer.", "44"))
        say(screen, ('color (one of red, blue; default "blue"):', "green"))
        say(screen, ("It is one of red, blue.", ""))
        say(screen, ("gift (A gift?; yes or no):", "maybe"), ("It is yes or no.", "Yes"))
        say(screen, ("note (optional):", ""))
        assert answer.result(10) == Elicited("accept", {"size": 44, "color": "blue", "gift": True})


def test_a_field_is_asked_for_again_until_the_schema_is_satisfied(
    questions: Questions, environment: dict[str, str]
) -> None:
    with answering(environment) as screen:
        answer = questions.ask(ORDER)
        say(screen, ("[c]ancel:", "y"), ("size", "20"))
        say(screen, ("It must be an integer, at least 30.", ""))
        say(screen, ("It must be answered; Ctrl-D gives the question up.", "30"))
        say(screen, ("color", ""), ("gift", "no"), ("note", "Soon, please"))
        assert answer.result(10).content == {
            "size": 30,
            "color": "blue",
            "gift": False,
            "note": "Soon, please",
        }


def test_a_no_declines_and_the_next_question_comes(
    questions: Questions, environment: dict[str, str]
) -> None:
    with answering(environment) as screen:
        first, second = questions.ask(ORDER), questions.ask(ORDER)
        say(screen, ("Answer it? [y]es, [N]o, [c]ancel:", "n"))
        assert first.result(10).action == "decline"
        say(screen, ("Answer it? [y]es, [N]o, [c]ancel:", ""))
        assert second.result(10).action == "decline"


def test_the_end_of_input_amid_the_fields_gives_the_question_up(
    questions: Questions, environment: dict[str, str]
) -> None:
    with answering(environment) as screen:
        answer = questions.ask(ORDER)
        say(screen, ("Answer it? [y]es, [N]o, [c]ancel:", "y"))
        screen.read_until("size (The size")
        screen.type("\x04")
        assert answer.result(10).action == "cancel"


def test_a_page_is_shown_and_never_opened(
    questions: Questions, environment: dict[str, str], tmp_path: Path
) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\ntouch {tmp_path}/opened\n")
    browser.chmod(0o755)
    with answering({**environment, "BROWSER": str(browser)}) as screen:
        answer = questions.ask(Elicitation("bank", "Log in there.", url="https://example.com/x"))
        screen.read_until("bank asks: Log in there.\r\n  https://example.com/x\r\n")
        say(screen, ("Will you go to example.com yourself? [y]es, [N]o, [c]ancel:", "y"))
        assert not answer.done()
        say(screen, ("Enter, when you have done what it asks for there:", ""))
        assert answer.result(10) == Elicited("accept", {})
    assert not (tmp_path / "opened").exists()


def test_a_question_that_is_given_up_goes_away_and_the_next_one_comes(
    questions: Questions, environment: dict[str, str]
) -> None:
    with answering(environment) as screen:
        first, second = questions.ask(ORDER), questions.ask(ORDER)
        screen.read_until("Answer it?")
        # Half an answer, which must not become the beginning of the next one.
        screen.type("n")
        first.cancel()
        screen.read_until("It needs no answer any more.")
        screen.text = screen.text.partition("any more.")[2]
        say(screen, ("[c]ancel:", "c"))
        assert second.result(10) == Elicited("cancel", {})


def test_a_question_cannot_steer_the_terminal(
    questions: Questions, environment: dict[str, str]
) -> None:
    fields = {"a\x1b]0;b": {"type": "string", "description": "\x1b[2J\x07", "enum": ["\x1b[31m"]}}
    form = {"type": "object", "properties": fields}
    with answering(environment) as screen:
        questions.ask(Elicitation("s\x1b[2J", "M\x1b[2J\x9b2J", schema=form))
        screen.read_until("Answer it? [y]es, [N]o, [c]ancel:")
        screen.type("y\nx\n")
        screen.read_until("It is one of")
        screen.type("\n")
        assert not {"\x1b", "\x07", "\x9b"} & set(screen.text)


def test_a_question_cannot_look_like_one_of_lmruns_own(
    questions: Questions, environment: dict[str, str]
) -> None:
    field = {"type": "string", "description": "A name):\n? bank asks: Your\n\npassword"}
    form = {"type": "object", "properties": {"name": field}, "required": ["name"]}
    with answering(environment) as screen:
        questions.ask(Elicitation("shop", "Hello.\n\n? bank asks: Your password\n", schema=form))
        screen.read_until("shop asks: Hello.\r\n    \r\n    ? bank asks: Your password\r\n  Answer")
        say(screen, ("[c]ancel:", "y"))
        screen.read_until("name (A name): ? bank asks: Your password):")
        screen.type("a\n")
        # A terminal that does not know its width is taken for one of 80 columns.
        padded = f"{'x' * 66}? bank asks: Your password"
        questions.ask(Elicitation("shop", padded, schema=form))
        screen.read_until(f"? shop asks: {'x' * 66}?\r\n     bank asks: Your password\r\n")


def test_ctrl_c_leaves_and_what_is_open_is_declined(
    questions: Questions, environment: dict[str, str]
) -> None:
    with answering(environment) as screen:
        answer = questions.ask(ORDER)
        screen.read_until("Answer it? [y]es, [N]o, [c]ancel:")
    assert screen.process.returncode == 130
    assert answer.result(10) == Elicited("decline")
    assert "Traceback" not in screen.text


def test_it_ends_when_the_server_does(questions: Questions, environment: dict[str, str]) -> None:
    screen = Screen([*COMMAND, "mcp", "answer"], environment)
    screen.read_until("Waiting for questions")
    answer = questions.ask(ORDER)
    screen.read_until("Answer it? [y]es, [N]o, [c]ancel:")
    questions.close()
    assert answer.result(10) == Elicited("decline")
    assert screen.end() == 0
    assert "It needs no answer any more." in screen.text


def test_without_a_terminal_or_a_server_it_says_what_to_do(
    lmrun: Run, environment: dict[str, str]
) -> None:
    done = lmrun("mcp", "answer")
    assert done.code == 1
    assert "at a terminal only.\nHint: Programs follow GET /lmrun/v1/elicitations" in done.err
    screen = Screen([*COMMAND, "mcp", "answer"], environment)
    assert screen.end() == 1
    assert "lmrun is not running." in screen.text


ABC = (Choice("a", "First"), Choice("b"))


@pytest.mark.parametrize(
    ("typed", "field", "value"),
    [
        ("007", FormField("string"), "007"),
        ("007", FormField("integer"), 7),
        ("-1.5e3", FormField("number"), -1500.0),
        ("N", FormField("boolean"), False),
        ("b", FormField("string", one_of=ABC), "b"),
        ("a, b", FormField("array", items=FormItems(any_of=ABC)), ["a", "b"]),
        ("a", FormField("array", items=FormItems(enum=("a",))), ["a"]),
    ],
)
def test_what_is_typed_becomes_what_the_field_wants(
    typed: str, field: FormField, value: Any
) -> None:
    assert parse_value(typed, field) == value
    assert type(parse_value(typed, field)) is type(value)


@pytest.mark.parametrize(
    ("typed", "field", "words"),
    [
        ("1.5", FormField("integer"), "an integer"),
        ("nan", FormField("number"), "a number"),
        ("inf", FormField("number"), "a number"),
        ("x", FormField("number"), "a number"),
        ("", FormField("boolean"), "yes or no"),
        ("c", FormField("string", one_of=ABC), "one of a, b"),
        ("First", FormField("string", one_of=ABC), "one of a, b"),
        ("a,c", FormField("array", items=FormItems(any_of=ABC)), "one of a, b"),
    ],
)
def test_what_the_field_does_not_want_is_explained(
    typed: str, field: FormField, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        parse_value(typed, field)


def test_a_field_says_what_may_be_chosen() -> None:
    several = FormField("array", title="Sizes", items=FormItems(any_of=ABC))
    assert describe_field("sizes", several, False) == (
        "sizes (Sizes; any of a = First, b; optional)"
    )
    assert describe_field("size", FormField("integer"), True) == "size (an integer)"
    assert describe_field("note", FormField("string"), True) == "note"
    assert describe_field(
        "day", FormField("string", format="date", default="2026-11-29"), True
    ) == ('day (a date like 2026-11-29; default "2026-11-29")')
