"""What the server and a process with functions say to each other: length-prefixed msgpack over a
socketpair. It knows no process.

Four bytes of big-endian length, then one tagged map. Arguments and schemas travel as JSON text,
whose numbers have no limit.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

import msgspec

MAX_FRAME_BYTES = 64 * 2**20
_PREFIX_BYTES = 4


class Setup(msgspec.Struct, frozen=True, tag="setup"):
    """The first frame: import `module`, which lies in `directory`, and say what its functions are
    like. `functions`: their names by the tools' keys. `hidden`: variables that are lmrun's."""

    directory: str
    module: str
    functions: dict[str, str]
    hidden: tuple[str, ...] = ()


class Call(msgspec.Struct, frozen=True, tag="call"):
    """Call the function of the tool `key`. `arguments`: a JSON object. `cpu_s`: processor time
    that it may use; `max_output`: bytes of the longest result."""

    key: str
    arguments: str
    cpu_s: float
    max_output: int


class Description(msgspec.Struct, frozen=True):
    """`parameters`: a JSON schema, as text."""

    description: str | None
    parameters: str


class Described(msgspec.Struct, frozen=True, tag="described"):
    """The answer to `Setup`. `faults`: why the function of a key cannot be called. `files`: those
    of the directory that were imported, with the time of their last change in ns."""

    functions: dict[str, Description]
    faults: dict[str, str]
    files: dict[str, int]


class Returned(msgspec.Struct, frozen=True, tag="returned"):
    """The answer to `Call`. `size`: bytes before the text was shortened; `trace`: for the log."""

    text: str
    size: int
    error: Literal["failed", "invalid_arguments"] | None = None
    trace: str | None = None


ToChild = Setup | Call
FromChild = Described | Returned

Frame = TypeVar("Frame")

_encoder = msgspec.msgpack.Encoder()


def encode(frame: ToChild | FromChild) -> bytes:
    """The frame with its length in front."""
    body = _encoder.encode(frame)
    return len(body).to_bytes(_PREFIX_BYTES, "big") + body


class FrameReader(Generic[Frame]):
    """Cuts a stream of bytes into frames of the given types."""

    def __init__(self, types: Any) -> None:
        self._decode = msgspec.msgpack.Decoder(types).decode
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. Raises ValueError for one that is too long, or fits
        none of the types."""
        self._bytes += data
        frames: list[Frame] = []
        while len(self._bytes) >= _PREFIX_BYTES:
            length = int.from_bytes(self._bytes[:_PREFIX_BYTES], "big")
            if length > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {length} bytes")
            end = _PREFIX_BYTES + length
            if len(self._bytes) < end:
                break
            try:
                frames.append(self._decode(bytes(self._bytes[_PREFIX_BYTES:end])))
            except msgspec.MsgspecError as error:
                raise ValueError(f"a frame does not fit: {error}") from None
            del self._bytes[:end]
        return frames
