"""What a client saw of one streamed answer, out of the bytes and when they came. Pure.

The bytes are read only after the stream has ended: a client that parses while it measures would
take its time from the server's two cores, the more the more often the server sends.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

Arrival = tuple[float, bytes]
"""When bytes came, in seconds after the request was sent, and the bytes."""


class Refused(Exception):
    """The server answered with an error instead of text."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One streamed answer. Times are seconds; `times` and `ended_s` count from `sent_at`.

    `times`: when each piece of text came. `sent_at`: on the clock of `time.perf_counter`.
    `usage`: what the server says of it, by OpenAI's names; empty when it says nothing.
    """

    sent_at: float
    times: tuple[float, ...]
    ended_s: float
    text: str
    finish_reason: str
    usage: dict[str, Any]

    @property
    def first_s(self) -> float:
        return self.times[0]

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that the server says it did not compute."""
        details = self.usage.get("prompt_tokens_details") or {}
        return int(details.get("cached_tokens") or 0)

    @property
    def completion_tokens(self) -> int:
        """As the server counts them; one per piece of text when it does not say."""
        return int(self.usage.get("completion_tokens") or len(self.times))

    @property
    def gaps_s(self) -> list[float]:
        """Seconds between pieces of text."""
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


def read_answer(sent_at: float, arrivals: Sequence[Arrival]) -> Answer:
    """The answer in the bytes of an HTTP/1.1 response. Raises Refused when it is an error."""
    raw = b"".join(data for _, data in arrivals)
    ends = list(accumulate(len(data) for _, data in arrivals))
    head, _, _ = raw.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/") else 0
    pieces = list(_read_body(raw, len(head) + 4, b"chunked" in head.lower()))
    if status != 200:
        raise Refused(_explain(b"".join(data for _, data in pieces)) or f"status {status}")
    times, texts, finish_reason = [], [], ""
    usage: dict[str, Any] = {}
    for offset, event in _read_events(pieces):
        if "error" in event:
            raise Refused(_explain(json.dumps(event).encode()))
        usage = event.get("usage") or usage
        for choice in event.get("choices") or ():
            text = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
            finish_reason = choice.get("finish_reason") or finish_reason
            if text:
                times.append(arrivals[bisect_left(ends, offset)][0])
                texts.append(text)
    if not times:
        raise Refused("the answer holds no text")
    ended_s = arrivals[-1][0]
    return Answer(sent_at, tuple(times), ended_s, "".join(texts), finish_reason, usage)


def _read_body(raw: bytes, begin: int, is_chunked: bool) -> Iterator[tuple[int, bytes]]:
    """The body's parts, each with the offset in `raw` of its end."""
    if not is_chunked:
        yield len(raw), raw[begin:]
        return
    while begin < len(raw):
        line_end = raw.index(b"\r\n", begin)
        size = int(raw[begin:line_end].split(b";")[0], 16)
        if not size:
            return
        begin = line_end + 2
        yield begin + size, raw[begin : begin + size]
        begin += size + 2


def _read_events(pieces: Sequence[tuple[int, bytes]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Server-sent events that hold JSON, each with the offset where it was complete."""
    rest = b""
    for offset, data in pieces:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            content = line.strip().removeprefix(b"data:").strip()
            if content.startswith(b"{"):
                yield offset, json.loads(content)


def _explain(body: bytes) -> str:
    """The message of an error's body."""
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:300]
    return str(error.get("message", error) if isinstance(error, dict) else error)
