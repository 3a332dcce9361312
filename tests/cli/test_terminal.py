"""How text becomes lines for people: pure tables."""

from __future__ import annotations

import pytest

from lmrun.cli.terminal import Terminal, align, paint, printable, show_bytes


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


def test_color_is_dropped_where_it_is_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(color_out=False).show(paint("ready", "good"))
    Terminal(color_out=True).show(paint("ready", "good"))

    assert capsys.readouterr().out == "ready\n\x1b[32mready\x1b[0m\n"


def test_a_pipe_is_no_terminal() -> None:
    assert Terminal.detect({}) == Terminal()
