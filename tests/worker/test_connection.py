"""Frames over bytes: any cut, and nothing that does not fit."""

from __future__ import annotations

import struct
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.chat.messages import RawPrompt
from lmrun.worker.connection import FrameBuffer
from lmrun.worker.frames import (
    MAX_BYTES_TO_WORKER,
    MAX_FRAME_BYTES,
    Cancel,
    Close,
    FromWorker,
    Generate,
    LoadFailed,
    LoadProgress,
    Threads,
    ToWorker,
    WireError,
    encode,
)

FRAMES: list[ToWorker] = [
    Threads(2),
    Generate(7, RawPrompt("hello"), {"seed": 1}),
    Cancel(7),
    Close(),
]


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


@given(st.lists(st.integers(0, 200), max_size=8))
def test_frames_arrive_whole_however_the_bytes_are_cut(cuts: list[int]) -> None:
    data = b"".join(encode(frame) for frame in FRAMES)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    buffer: FrameBuffer[ToWorker] = FrameBuffer(ToWorker)
    got = []
    for start, end in pairwise(edges):
        got += buffer.feed(data[start:end])
    assert got == FRAMES


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(framed(b"\xc1"), id="no msgpack"),
        pytest.param(framed(b""), id="empty"),
        pytest.param(framed(msgspec.msgpack.encode({"type": "explode"})), id="unknown type"),
        pytest.param(framed(msgspec.msgpack.encode({"type": "cancel"})), id="missing field"),
        pytest.param(
            framed(msgspec.msgpack.encode({"type": "cancel", "id": "x"})), id="wrong type"
        ),
        pytest.param(framed(msgspec.msgpack.encode([1, 2])), id="no map"),
        pytest.param(encode(LoadProgress(0.5)), id="a frame of the other direction"),
        pytest.param(struct.pack(">I", MAX_FRAME_BYTES + 1), id="too long, before the body"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
    ],
)
def test_a_frame_that_does_not_fit_is_an_error(data: bytes) -> None:
    buffer: FrameBuffer[ToWorker] = FrameBuffer(ToWorker)
    with pytest.raises(ValueError, match="frame"):
        buffer.feed(data)


def test_a_frame_of_the_largest_size_arrives() -> None:
    frame = Generate(1, RawPrompt("x" * (MAX_BYTES_TO_WORKER - 200)), {})
    data = encode(frame)
    buffer: FrameBuffer[ToWorker] = FrameBuffer(ToWorker, MAX_BYTES_TO_WORKER)
    got = [
        each for at in range(0, len(data), 65_536) for each in buffer.feed(data[at : at + 65_536])
    ]
    assert got == [frame]


@pytest.mark.parametrize(
    "frame",
    [
        Generate(1, RawPrompt("x" * MAX_BYTES_TO_WORKER), {}),
        LoadFailed(WireError("x", "x" * MAX_FRAME_BYTES)),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_a_frame_over_the_limit_of_its_direction_is_not_encoded(
    frame: FromWorker | ToWorker,
) -> None:
    with pytest.raises(ValueError, match="over the limit"):
        encode(frame)
