"""What strict YAML refuses, and where it points."""

from __future__ import annotations

import pytest
import yaml

from lmrun.profile.text.nodes import Scalar
from lmrun.profile.text.strict_yaml import MAX_ALIASES, MAX_DEPTH, parse_yaml

BOMB = "b0: &b0 [x, x, x, x, x, x, x, x]\n" + "".join(
    f"b{n}: &b{n} [*b{n - 1}, *b{n - 1}, *b{n - 1}, *b{n - 1}, *b{n - 1}]\n" for n in range(1, 9)
)

REFUSED = {
    "duplicate key": ("a: 1\nb: 2\na: 3\n", 3, 1, "the key `a` is already on line 1"),
    "duplicate key in a flow mapping": ("a: {b: 1, b: 2}\n", 1, 11, "`b` is already on line 1"),
    "duplicate key, once quoted": ('a: 1\n"a": 2\n', 2, 1, "`a` is already on line 1"),
    "python tag": ("a: !!python/object/apply:os.system [id]\n", 1, 4, "tags (`!…`)"),
    "core tag": ("a: !!str 1\n", 1, 4, "tags (`!…`)"),
    "own tag on a mapping": ("a: !mine {b: 1}\n", 1, 4, "tags (`!…`)"),
    "non-specific tag": ("a: ! 1\n", 1, 4, "tags (`!…`)"),
    "tag on a key": ("!!str a: 1\n", 1, 1, "tags (`!…`)"),
    "alias inside its own anchor": ("a: &x [1, *x]\n", 1, 11, "stands inside its own anchor"),
    "alias inside its own mapping": ("a: &x\n  b: *x\n", 2, 6, "stands inside its own anchor"),
    "alias without an anchor": ("a: *x\n", 1, 4, "no anchor `&x` stands above"),
    "alias before its anchor": ("a: *x\nb: &x 1\n", 1, 4, "no anchor `&x` stands above"),
    "too many aliases": (
        "a: &x 1\nb: [" + "*x, " * (MAX_ALIASES + 1) + "]\n",
        2,
        5 + 4 * MAX_ALIASES,
        "more than 50 aliases",
    ),
    "aliases that multiply": (BOMB, 6, 30, "more than 25000 values"),
    "deep flow sequences": ("a: " + "[" * 20_000, 1, 3 + MAX_DEPTH, "deeper than 50 levels"),
    "deep flow mappings": ("{a: " * 20_000, 1, 4 * MAX_DEPTH + 1, "deeper than 50 levels"),
    "deep block sequences": ("- " * 20_000, 1, 2 * MAX_DEPTH + 1, "deeper than 50 levels"),
    "merge key": ("a: &x {b: 1}\nc:\n  <<: *x\n", 3, 3, "merge keys (`<<`) are not allowed"),
    "integer key": ("1: a\n", 1, 1, "a key must be text, but this is a number"),
    "float key": ("1.5: a\n", 1, 1, "a key must be text, but this is a number"),
    "boolean key": ("a: {true: b}\n", 1, 5, "a key must be text, but this is true or false"),
    "null key": ("~: a\n", 1, 1, "a key must be text, but this is empty"),
    "absent key": ("? \n: a\n", 1, 2, "a key must be text, but this is empty"),
    "list as key": ("? [a]\n: b\n", 1, 3, "a key must be text, not a list"),
    "mapping as key": ("{{a: 1}: b}\n", 1, 2, "a key must be text, not a mapping"),
    "two documents": ("a: 1\n---\nb: 2\n", 2, 1, "only one document"),
    "an empty second document": ("a: 1\n...\n---\n", 3, 1, "only one document"),
    "text after the document": ("--- {a: 1} b\n", 1, 12, "only one document"),
    "yaml directive": ("%YAML 1.1\n---\na: 1\n", 1, 1, "directives (`%…`) are not allowed"),
    "tag directive": ("%TAG ! x:y\n---\na: 1\n", 1, 1, "directives (`%…`) are not allowed"),
    "unknown directive": ("%FOO\n---\na: 1\n", 1, 1, "directives (`%…`) are not allowed"),
    "NUL": ("a: b\nc: \0\n", 2, 4, "U+0000 is not allowed"),
    "NUL as an escape": ('a: "\\0"\n', 1, 4, "U+0000 is not allowed"),
    "escape character": ("a: \x1b[31m\n", 1, 4, "U+001B is not allowed"),
    "next line": ("a: b\x85c: d\n", 1, 5, "U+0085 is not allowed"),
    "line separator": ("a: b\u2028c: d\n", 1, 5, "U+2028 is not allowed"),
    "a second byte order mark": ("\ufeffa: 1\n\ufeffb: 2\n", 2, 1, "U+FEFF is not allowed"),
    "lone surrogate": ("a: \ud800\n", 1, 4, "U+D800 is not allowed"),
    "empty": ("", 1, 1, "the file is empty"),
    "only a comment": ("# nothing\n", 1, 1, "the file is empty"),
    "null": ("~\n", 1, 1, "the file is empty"),
    "list at the top": ("- a\n", 1, 1, "must be a mapping (`key: value`), not a list"),
    "text at the top": ("\n hello\n", 2, 2, "must be a mapping (`key: value`), not text"),
    "tab as indentation": ("a:\n\tb: 1\n", 2, 1, "a tab cannot indent YAML"),
    "tab in a block text": ("a: |\n\tb\n", 2, 1, "a tab cannot indent YAML"),
    "two colons": ("a: b: c\n", 1, 5, "a `:` is not allowed here"),
    "wrong indentation": ("a:\n  b: 1\n c: 2\n", 3, 2, "check the indentation"),
    "entry without its list": ("a: 1\n- b\n", 2, 1, "check the indentation"),
    "entry after a key": ("a: - b\n", 1, 4, "a `- ` entry is not allowed here"),
    "flow mapping not closed": ("a: {b: 1\nc: 2\n", 2, 2, "this `{…}` is not closed"),
    "flow sequence not closed": ("a: [1, 2\n", 2, 1, "this `[…]` is not closed"),
    "reference without quotes in a flow": ("a: {b: ${env:X}}\n", 1, 9, "references in it need"),
    "quote not closed": ("a: 'b\nc: 1\n", 1, 4, "this quote is never closed"),
    "unknown escape": ('a: "\\q"\n', 1, 5, "unknown escape"),
    "at sign": ("a: @b\n", 1, 4, "a text cannot begin with `@`"),
    "backtick": ("a: `b`\n", 1, 4, "a text cannot begin with"),
    "percent sign": ("a: %b\n", 1, 4, "a text cannot begin with `%`"),
    "star alone": ("a: *\n", 1, 4, "begins with `*` or `&` needs quotes"),
    "number of absurd length": ("a: " + "9" * 5000, 1, 4, "at most 64 characters"),
}


@pytest.mark.parametrize(("text", "line", "column", "fragment"), REFUSED.values(), ids=REFUSED)
def test_bad_yaml_is_refused_where_it_is_bad(
    text: str, line: int, column: int, fragment: str
) -> None:
    problems = parse_yaml(text, "p.yaml").problems
    assert len(problems) == 1, problems
    assert fragment in problems[0].message
    assert (problems[0].file, problems[0].line, problems[0].column) == ("p.yaml", line, column)


@pytest.mark.parametrize(
    "text",
    [
        "no", "yes", "on", "off", "y", "n", "No", "OFF", "tRUE", "nULL",
        "0777", "007", "-01", "1_000", "12:30:45", "0b1", "0o8", "0xG", "1e", "e3", "1.2.3",
        "2024-01-01", "2024-01-01T00:00:00Z", "=", "127.0.0.1", "1,5", "+", ".", "0x", "inf", "nan",
    ],
)  # fmt: skip
def test_what_yaml_1_1_would_convert_stays_text(text: str) -> None:
    assert read_value(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("+3", 3),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.10", 1.1),
        (".5", 0.5),
        ("1.", 1.0),
        ("-2.5e3", -2500.0),
        ("1e3", 1000.0),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
        ('"1"', "1"),
        ("'true'", "true"),
        ('"\\x1b"', "\x1b"),
    ],
)
def test_the_core_schema_decides_what_a_plain_value_is(text: str, value: object) -> None:
    found = read_value(text)
    assert found == value
    assert type(found) is type(value)


def test_dot_nan_is_a_number() -> None:
    found = read_value(".nan")
    assert isinstance(found, float)
    assert found != found


def test_a_leading_byte_order_mark_moves_no_position() -> None:
    parsed = parse_yaml("\ufeffa: 1\n", "p.yaml")
    assert parsed.root is not None
    assert parsed.root.entries["a"].key.column == 1


def test_columns_count_characters_and_not_bytes() -> None:
    problems = parse_yaml("ä: {ö: 1, ö: 2}\n", "p.yaml").problems
    assert [(problem.line, problem.column) for problem in problems] == [(1, 11)]


def test_lines_that_end_in_carriage_return_and_newline_count_once() -> None:
    problems = parse_yaml("a: 1\r\nb: 2\r\nb: 3\r\n", "p.yaml").problems
    assert [(problem.line, problem.column) for problem in problems] == [(3, 1)]


def test_an_acyclic_alias_repeats_its_value() -> None:
    parsed = parse_yaml("a: &x [1]\nb: *x\n", "p.yaml")
    assert parsed.problems == ()
    assert parsed.root is not None
    assert parsed.root.entries["b"].node is parsed.root.entries["a"].node


def test_several_problems_of_one_text_are_all_found() -> None:
    problems = parse_yaml("a: !!str 1\na: 2\n3: 4\n", "p.yaml").problems
    assert sorted(problem.line for problem in problems) == [1, 2, 3]


def test_without_libyaml_the_refusal_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    (problem,) = parse_yaml("a: 1\n", "p.yaml").problems
    assert "pip install" in problem.message


def read_value(text: str) -> object:
    parsed = parse_yaml(f"key: {text}\n", "p.yaml")
    assert parsed.problems == ()
    assert parsed.root is not None
    node = parsed.root.entries["key"].node
    assert isinstance(node, Scalar)
    return node.value
