"""Calls as Python writes them: what they say, and what is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.chat.answer import Answer
from lmrun.chat.formats.reading.feed import Feed, ScriptParser, Steps
from lmrun.chat.formats.reading.python import read_call_list
from tests.chat.recordings import read
from tests.chat.toolbox import TOOLS


def read_list(text: str) -> Answer:
    script: Callable[[Feed], Steps[None]] = lambda feed: feed.attempt(  # noqa: E731
        lambda feed: read_call_list(feed, list(TOOLS.values()))
    )
    return read(ScriptParser(script), [text])


def read_value(written: str) -> Any:
    (call,) = read_list(f"[f(x={written})]").tool_calls
    return json.loads(call.arguments)["x"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1", 1),
        ("-2.5e3", -2500.0),
        ("+7", 7),
        ("1_000", 1000),
        ("True", True),
        ("null", None),
        ("'a'", "a"),
        ('"it\'s"', "it's"),
        (r"'it\'s'", "it's"),
        (r'"a\n\tb\\c\q"', "a\n\tb\\c\\q"),
        (r'"\x41\u00e9\U0001F600"', "A\u00e9\U0001f600"),
        (r'"\ud83d\ude00"', "\U0001f600"),
        ("'''a'b\n'''", "a'b\n"),
        ("''", ""),
        ("[1, 'a', [True],]", [1, "a", [True]]),
        ("(1, 2)", [1, 2]),
        ("{'a': 1, 2: {}}", {"a": 1, "2": {}}),
        ("[]", []),
    ],
)
def test_literals_become_json(written: str, expected: Any) -> None:
    assert read_value(written) == expected


@pytest.mark.parametrize(
    "written", ["1 + 1", "g()", "x", "'a' 'b'", "[1 2]", "{1}", "f'{x}'", "-", r"'\xzz'", "0x10"]
)
def test_what_would_have_to_be_evaluated_is_no_call(written: str) -> None:
    text = f"[f(x={written})]"
    answer = read_list(text)
    assert answer.tool_calls == ()
    assert text.startswith(answer.text) and answer.text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_python_shows_of_a_value_is_read_as_the_value(value: Any) -> None:
    assert read_value(repr(value)) == value
    assert read_value(json.dumps(value)) == value


def test_arguments_without_names_take_those_of_the_tool() -> None:
    (call,) = read_list("[add(1, 2)]").tool_calls
    assert json.loads(call.arguments) == {"a": 1, "b": 2}


def test_more_arguments_than_the_tool_has_are_none() -> None:
    assert read_list("[add(1, 2, 3)]").tool_calls == ()


def test_nesting_without_end_is_no_call() -> None:
    assert read_list("[f(x=" + "[" * 5000 + "]" * 5000 + ")]").tool_calls == ()
    assert read_list("[f(x=" + "[" * 60 + "]" * 60 + ")]").tool_calls != ()
