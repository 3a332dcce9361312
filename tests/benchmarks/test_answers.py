"""Streamed answers out of bytes and times."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.answers import Arrival, Refused, read_answer

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def to_chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def to_event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def to_text(text: str, finish_reason: str | None = None) -> bytes:
    return to_event(choices=[{"text": text, "finish_reason": finish_reason}])


END = to_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def test_each_piece_of_text_has_the_time_its_bytes_came() -> None:
    arrivals = [
        (0.1, HEAD),
        (0.2, to_chunk(to_text("a"))),
        (0.3, to_chunk(to_text("b")) + to_chunk(to_text("", "length"))),
        (0.4, END),
    ]
    answer = read_answer(5.0, arrivals)
    assert (answer.times, answer.text, answer.finish_reason) == ((0.2, 0.3), "ab", "length")
    assert (answer.sent_at, answer.first_s, answer.ended_s) == (5.0, 0.2, 0.4)


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_piece_counts_when_its_last_byte_is_there(cut: int) -> None:
    body = to_chunk(to_text("whole"))
    answer = read_answer(0.0, [(0.1, HEAD), (0.2, body[:cut]), (0.3, body[cut:] + END)])
    assert (answer.times, answer.text) == ((0.3,), "whole")


def test_an_event_may_come_in_two_chunks_of_the_transfer() -> None:
    event = to_text("whole")
    arrivals: list[Arrival] = [(0.1, HEAD), (0.2, to_chunk(event[:9]))]
    arrivals += [(0.3, to_chunk(event[9:])), (0.4, END)]
    assert read_answer(0.0, arrivals).times == (0.3,)


def test_a_chat_and_a_body_without_chunks_are_read_too() -> None:
    delta = to_event(choices=[{"delta": {"content": "hi"}, "finish_reason": "stop"}])
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    answer = read_answer(0.0, [(0.1, head + delta)])
    assert (answer.text, answer.finish_reason) == ("hi", "stop")


def test_counts_are_the_servers_own_where_it_gives_them() -> None:
    usage = {"completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 5}}
    body = to_chunk(to_text("a")) + to_chunk(to_event(choices=[], usage=usage))
    answer = read_answer(0.0, [(0.1, HEAD + body + END)])
    assert (answer.completion_tokens, answer.cached_tokens) == (7, 5)


def test_without_counts_a_piece_is_a_token() -> None:
    answer = read_answer(0.0, [(0.1, HEAD + to_chunk(to_text("a") + to_text("b")) + END)])
    assert (answer.completion_tokens, answer.cached_tokens) == (2, 0)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'HTTP/1.1 400 Bad\r\n\r\n{"error": {"message": "no such field"}}', "no such field"),
        (b"HTTP/1.1 503 No\r\n\r\nbusy", "busy"),
        (HEAD + to_chunk(to_event(error={"message": "it broke"})) + END, "it broke"),
        (HEAD + END, "the answer holds no text"),
        (b"", "status 0"),
    ],
)
def test_an_error_is_refused_in_the_servers_words(raw: bytes, message: str) -> None:
    with pytest.raises(Refused, match=message):
        read_answer(0.0, [(0.1, raw)])
