"""How text becomes lines for people: pure tables."""

from __future__ import annotations

import pytest

from lmrun.cli.terminal import Terminal, align, paint, printable, set_in, show_bytes


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (98_213_456, "98.2 MB"),
        (999_600, "1 MB"),
        (4_700_000_000, "4.7 GB"),
        (12_000_000_000_000, "12 TB"),
    ],
)
def test_bytes_have_three_digits_and_a_decimal_unit(count: int, shown: str) -> None:
    assert show_bytes(count) == shown


def test_columns_line_up_whatever_their_color() -> None:
    rows = [("NAME", "STATE", "N"), ("a", paint("ready", "good"), "1"), ("long", "x", "2")]

    plain = [line.replace("\x1b[32m", "").replace("\x1b[0m", "") for line in align(rows)]

    assert plain == ["NAME  STATE  N", "a     ready  1", "long  x      2"]


def test_a_model_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b]0;title\x07b\x1b[2Jc\r\x9bd\n\te") == "a]0;titleb[2Jcd\n\te"


@pytest.mark.parametrize(
    "filler", ["x", " ", "界", "\u0301", "—", "x\n", "\t"], ids=lambda it: ascii(it)
)
def test_no_line_of_foreign_text_begins_where_lmruns_own_do(filler: str) -> None:
    shown = set_in(filler * 300 + "? note\n  Run it?", 40, taken=10)
    first, *rest = (" " * 10 + shown).split("\n")
    assert all(line.startswith("    ") for line in rest)
    widths = [sum({"\t": 8, "界": 2}.get(char, 1) for char in line) for line in (first, *rest)]
    assert max(widths) <= 40
    assert "".join(shown.split()) == "".join(f"{filler * 300}? noteRun it?".split())


def test_short_foreign_text_stays_as_it_is() -> None:
    assert set_in("Which size?", 80) == "Which size?"
    assert set_in("x" * 70, 80, taken=10) == "x" * 70


def test_color_is_dropped_where_it_is_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(color_out=False).show(paint("ready", "good"))
    Terminal(color_out=True).show(paint("ready", "good"))

    assert capsys.readouterr().out == "ready\n\x1b[32mready\x1b[0m\n"


def test_a_pipe_is_no_terminal() -> None:
    assert Terminal.detect({}) == Terminal()
