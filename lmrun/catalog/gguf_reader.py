"""GGUF's container: bytes in, keys and tensor descriptions out, within fixed bounds.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. It does not know what any key
means, except the alignment, which the container itself needs.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NoReturn

from lmrun.errors import ModelInvalid

MAX_HEADER_BYTES = 64 * 2**20
MAX_STRING_BYTES = 16 * 2**20
MAX_KEY_BYTES = 65_535
MAX_TENSOR_NAME_BYTES = 63
MAX_KEYS = 100_000
MAX_TENSORS = 1_000_000
MAX_DIMENSIONS = 4
MAX_DIMENSION = 2**31 - 1
MAX_REASON_LENGTH = 300

UINT16, INT32, UINT32, FLOAT32, BOOL, STRING, ARRAY = 2, 5, 4, 6, 7, 8, 9
_NUMBER_FORMATS = {
    0: "<B",
    1: "<b",
    UINT16: "<H",
    3: "<h",
    UINT32: "<I",
    INT32: "<i",
    FLOAT32: "<f",
    BOOL: "<B",
    10: "<Q",
    11: "<q",
    12: "<d",
}
TYPE_NAMES = {
    0: "uint8",
    1: "int8",
    UINT16: "uint16",
    3: "int16",
    UINT32: "uint32",
    INT32: "int32",
    FLOAT32: "float32",
    BOOL: "bool",
    STRING: "string",
    ARRAY: "array",
    10: "uint64",
    11: "int64",
    12: "float64",
}
_VERSIONS = (2, 3)
_FIRST_READ_BYTES = 2**18
_DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class ArrayValue:
    """`count` elements of `element_type`, still in the window at `offset`."""

    element_type: int
    count: int
    offset: int


@dataclass(frozen=True, slots=True)
class Value:
    """A key's value and its type on disk."""

    type: int
    value: int | float | str | ArrayValue


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's description. `offset` counts from the start of the data section."""

    name: str
    dimensions: tuple[int, ...]
    type: int
    offset: int


@dataclass(slots=True)
class Window:
    """The file's beginning, read as far as it is needed.

    Read and not memory-mapped: a file that shrinks under a map kills the process.
    """

    path: Path
    file: BinaryIO
    size: int
    data: bytearray = field(default_factory=bytearray)

    def fail(self, reason: str, position: int | None = None) -> NoReturn:
        where = "" if position is None else f" (at byte {position})"
        # A name from the file may be long: the message stays readable.
        raise ModelInvalid(f"{self.path}: {reason[:MAX_REASON_LENGTH]}{where}.")

    def need(self, position: int, count: int, what: str) -> None:
        """Have `count` bytes at `position` in `data`. Raises ModelInvalid."""
        end = position + count
        if end <= len(self.data):
            return
        if end > self.size:
            self.fail(f"the file ends inside {what}", position)
        if end > MAX_HEADER_BYTES:
            self.fail(f"the header is longer than {MAX_HEADER_BYTES} bytes, in {what}", position)
        while len(self.data) < end:
            chunk = self.file.read(max(_FIRST_READ_BYTES, len(self.data)))
            if not chunk:
                self.fail("the file shrank while it was read", len(self.data))
            self.data += chunk

    def number(self, form: str, position: int, what: str) -> int | float:
        self.need(position, struct.calcsize(form), what)
        (value,) = struct.unpack_from(form, self.data, position)
        return value  # type: ignore[no-any-return]  # struct's result has no static type

    def uint(self, form: str, position: int, what: str) -> int:
        return int(self.number(form, position, what))

    def string(self, position: int, limit: int, what: str) -> tuple[str, int]:
        """The text at `position` and the position after it."""
        length = self.uint("<Q", position, what)
        if length > limit:
            self.fail(f"{what} has {length} bytes, more than {limit}", position)
        start = position + 8
        self.need(start, length, what)
        content = bytes(self.data[start : start + length])
        if b"\0" in content:
            self.fail(f"{what} contains a NUL", start + content.index(0))
        try:
            return content.decode(), start + length
        except UnicodeDecodeError as error:
            self.fail(f"{what} is not UTF-8", start + error.start)


@dataclass(frozen=True, slots=True)
class RawGguf:
    """What the container holds. `data_start`: where tensor data begins."""

    window: Window
    metadata: dict[str, Value]
    tensors: tuple[Tensor, ...]
    data_start: int
    alignment: int

    def numbers(self, array: ArrayValue) -> tuple[int | float, ...]:
        """The elements of an array of numbers."""
        form = f"<{array.count}{_NUMBER_FORMATS[array.element_type][1]}"
        return struct.unpack_from(form, self.window.data, array.offset)

    def strings(self, array: ArrayValue) -> Iterator[bytes]:
        """The elements of an array of strings, undecoded."""
        position, data = array.offset, self.window.data
        for _ in range(array.count):
            (length,) = struct.unpack_from("<Q", data, position)
            position += 8
            yield bytes(data[position : position + length])
            position += length


@contextmanager
def open_window(path: Path) -> Iterator[Window]:
    """A window on a regular file. Raises ModelInvalid for anything that is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ModelInvalid(f"{path}: is not a regular file.")
        # O_NONBLOCK: should it be a pipe by now, opening it would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:
            yield Window(path, file, os.fstat(descriptor).st_size)
    except OSError as error:
        raise ModelInvalid(f"{path}: cannot be read: {error.strerror or error}.") from error


def parse_container(window: Window) -> RawGguf:
    """Everything before the tensor data; no array is materialised. Raises ModelInvalid."""
    tensor_count, key_count = _parse_start(window)
    metadata: dict[str, Value] = {}
    position = 24
    for _ in range(key_count):
        key, value, position = _parse_pair(window, position)
        if key in metadata:
            window.fail(f"the key {key!r} occurs twice", position)
        metadata[key] = value
    alignment = _parse_alignment(window, metadata)
    tensors: dict[str, Tensor] = {}
    for _ in range(tensor_count):
        tensor, position = _parse_tensor(window, position)
        if tensor.name in tensors:
            window.fail(f"the tensor {tensor.name!r} occurs twice", position)
        tensors[tensor.name] = tensor
    data_start = -(-position // alignment) * alignment
    return RawGguf(window, metadata, tuple(tensors.values()), data_start, alignment)


def _parse_start(window: Window) -> tuple[int, int]:
    """Magic, version, and the numbers of tensors and keys."""
    window.need(0, 8, "its first 8 bytes")
    if window.data[:4] != b"GGUF":
        window.fail("it is no GGUF file, its first bytes are not `GGUF`", 0)
    version = window.uint("<I", 4, "the version")
    if version & 0xFFFF == 0:
        window.fail("it is a big-endian GGUF, which this machine cannot run", 4)
    if version not in _VERSIONS:
        window.fail(f"GGUF version {version} is not supported, only 2 and 3 are", 4)
    tensor_count = window.uint("<Q", 8, "the number of tensors")
    key_count = window.uint("<Q", 16, "the number of keys")
    if tensor_count > MAX_TENSORS:
        window.fail(f"it claims {tensor_count} tensors, more than {MAX_TENSORS}", 8)
    if key_count > MAX_KEYS:
        window.fail(f"it claims {key_count} keys, more than {MAX_KEYS}", 16)
    return tensor_count, key_count


def _parse_pair(window: Window, position: int) -> tuple[str, Value, int]:
    key, position = window.string(position, MAX_KEY_BYTES, "a key")
    kind = window.uint("<I", position, f"the type of {key!r}")
    position += 4
    if kind == STRING:
        text, position = window.string(position, MAX_STRING_BYTES, f"the value of {key!r}")
        return key, Value(kind, text), position
    if kind == ARRAY:
        array, position = _parse_array(window, key, position)
        return key, Value(kind, array), position
    form = _NUMBER_FORMATS.get(kind)
    if form is None:
        window.fail(f"{key!r} has the unknown type {kind}", position - 4)
    number = window.number(form, position, f"the value of {key!r}")
    return key, Value(kind, number), position + struct.calcsize(form)


def _parse_array(window: Window, key: str, position: int) -> tuple[ArrayValue, int]:
    what = f"the array {key!r}"
    kind = window.uint("<I", position, what)
    count = window.uint("<Q", position + 4, what)
    array = ArrayValue(kind, count, position + 12)
    if kind == ARRAY:
        window.fail(f"{what} is nested", position)
    if kind == STRING:
        return array, _skip_strings(window, array, what)
    form = _NUMBER_FORMATS.get(kind)
    if form is None:
        window.fail(f"{what} has the unknown element type {kind}", position)
    size = count * struct.calcsize(form)
    window.need(array.offset, size, what)
    return array, array.offset + size


def _skip_strings(window: Window, array: ArrayValue, what: str) -> int:
    """The position after an array of strings; vocabularies have 10^5 of them, so be quick."""
    position, left = array.offset, array.count
    if left > (window.size - position) // 8:
        window.fail(f"{what} claims {left} strings, more than fit in the file", position)
    unpack = struct.Struct("<Q").unpack_from
    while left:
        window.need(position, 8, what)
        data, end = window.data, len(window.data) - 8
        while left and position <= end:
            (length,) = unpack(data, position)
            if length > MAX_STRING_BYTES:
                window.fail(f"{what} has a string of {length} bytes", position)
            position += 8 + length
            left -= 1
    window.need(position, 0, what)
    return position


def _parse_alignment(window: Window, metadata: dict[str, Value]) -> int:
    found = metadata.get("general.alignment")
    if found is None:
        return _DEFAULT_ALIGNMENT
    alignment = found.value
    if found.type != UINT32 or not isinstance(alignment, int):
        window.fail(f"general.alignment has type {TYPE_NAMES[found.type]}, not uint32")
    if alignment < 1 or alignment & (alignment - 1):
        window.fail(f"general.alignment is {alignment}, which is not a power of two")
    return alignment


def _parse_tensor(window: Window, position: int) -> tuple[Tensor, int]:
    start = position
    name, position = window.string(position, MAX_TENSOR_NAME_BYTES, "a tensor's name")
    what = f"the description of the tensor {name!r}"
    count = window.uint("<I", position, what)
    if not 1 <= count <= MAX_DIMENSIONS:
        window.fail(f"the tensor {name!r} has {count} dimensions, not 1 to 4", position)
    window.need(position, 4 + 8 * count + 12, what)
    dimensions = struct.unpack_from(f"<{count}Q", window.data, position + 4)
    if not all(1 <= dimension <= MAX_DIMENSION for dimension in dimensions):
        shape = " x ".join(map(str, dimensions))
        window.fail(f"the tensor {name!r} has the impossible shape {shape}", start)
    kind, offset = struct.unpack_from("<IQ", window.data, position + 4 + 8 * count)
    return Tensor(name, dimensions, kind, offset), position + 4 + 8 * count + 12
