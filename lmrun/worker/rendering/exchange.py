"""What the worker and the process that renders its template say to each other, over two pipes."""

from __future__ import annotations

import struct
from typing import IO

import msgspec

from lmrun.chat.messages import Conversation

MAX_OUTPUT_BYTES = 4 * 1000 * 1000
"""The longest prompt that a template may write."""

_LENGTH = struct.Struct(">I")


class Template(msgspec.Struct, frozen=True):
    """The first thing said: what to render from now on."""

    source: str
    bos_token: str
    eos_token: str


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """A conversation to render, its pictures empty; `marker` is to stand for each. Without one, the
    template is only compiled."""

    conversation: Conversation | None = None
    marker: str = ""


class Rendered(msgspec.Struct, frozen=True):
    """The answer to a job: its `text`, or why there is none. `is_too_long`: because it would have
    more than MAX_OUTPUT_BYTES."""

    text: str | None = None
    error: str | None = None
    is_too_long: bool = False


_encode = msgspec.msgpack.Encoder().encode
decode_template = msgspec.msgpack.Decoder(Template).decode
decode_job = msgspec.msgpack.Decoder(Job).decode
decode_rendered = msgspec.msgpack.Decoder(Rendered).decode


def write(pipe: IO[bytes], said: Template | Job | Rendered) -> None:
    """Say it. Raises OSError when nobody listens."""
    body = _encode(said)
    pipe.write(_LENGTH.pack(len(body)) + body)
    pipe.flush()


def read(pipe: IO[bytes]) -> bytes | None:
    """What was said, undecoded; None when the other side is gone."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = pipe.read(length)
    return body if len(body) == length else None
