"""What tools say, made fit for models."""

from __future__ import annotations

import random
import re
import time
import tracemalloc

import pytest

from lmrun.tools.output import BoundedOutput, clean_output

MARKER = re.compile(r"\n\[… (\d+) bytes left out …\]\n")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain\n\ttext\n", "plain\n\ttext\n"),
        ("größer 日本".encode(), "größer 日本"),
        (b"\x1b[1;31mred\x1b[0m", "red"),
        (b"\x1b[2K\x1b[1Gdone", "done"),
        (b"\x1b]0;title\x07text", "text"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1bPsecret\x1b\\text", "text"),
        (b"\x1b(Btext\x1b=", "text"),
        ("\x9b31mred".encode(), "red"),
        (b"a\r\nb\rc", "a\nb\nc"),
        (b"a\x00b\x08c\x7fd\x0be", "abcde"),
        (b"bad \xff\xfe bytes", "bad \ufffd\ufffd bytes"),
        (b"cut \xe2\x82", "cut \ufffd"),
        (b"unfinished \x1b[31", "unfinished "),
        (b"unfinished \x1b", "unfinished "),
    ],
)
def test_escapes_and_controls_go_text_stays(data: bytes, text: str) -> None:
    assert clean_output(data, 1000) == (text, len(data))


def test_text_may_hold_anything_that_text_can() -> None:
    text, _ = clean_output("half \ud800 pair", 1000)
    assert text.startswith("half \ufffd")
    text.encode()


def test_of_longer_output_beginning_and_end_are_kept() -> None:
    data = b"".join(b"line %d\n" % number for number in range(1000))
    text, size = clean_output(data, 500)
    begin, left_out, end = MARKER.split(text)
    assert size == len(data)
    assert begin.startswith("line 0\nline 1\n")
    assert end.endswith("line 998\nline 999\n")
    assert len(text.encode()) <= 500
    assert int(left_out) == size - len(begin.encode()) - len(end.encode())


@pytest.mark.parametrize("limit", [0, 1, 10, 29, 30, 31, 50, 64, 100, 101, 102, 103, 1000])
def test_no_limit_is_exceeded_and_no_character_is_cut(limit: int) -> None:
    for unit in ("x", "é", "日", "🎉"):
        text, _ = clean_output(unit * 400, limit)
        assert set(MARKER.sub("", text)) <= {unit}
        assert len(text.encode()) <= max(limit, len("\n[… 1600 bytes left out …]\n".encode()))


def test_pieces_make_the_same_text_as_the_whole() -> None:
    chance = random.Random(7)
    for _ in range(300):
        data = bytes(chance.choices(b"ab\n\x1b[31m\xe2\x82\xac\xff", k=chance.randrange(300)))
        limit = chance.randrange(200)
        output = BoundedOutput(limit)
        at = 0
        while at < len(data):
            step = chance.randrange(1, 60)
            output.feed(data[at : at + step])
            at += step
        assert (output.text, output.size) == clean_output(data, limit)


def test_a_flood_takes_no_memory() -> None:
    output = BoundedOutput(10_000)
    tracemalloc.start()
    try:
        for _ in range(500):
            output.feed(b"x" * 100_000)
        for _ in range(100_000):
            output.feed(b"y")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert output.size == 50_100_000
    assert output.text.endswith("y" * 1000)
    assert peak < 500_000


@pytest.mark.parametrize("piece", [b"\x1b]", b"\x1b[", b"\x1b", b"\x1bP\x1b]", b"\x1b[0;"])
def test_unfinished_escapes_take_linear_time(piece: bytes) -> None:
    data = piece * (200_000 // len(piece))
    begin = time.thread_time()
    clean_output(data, len(data))
    assert time.thread_time() - begin < 1.0
