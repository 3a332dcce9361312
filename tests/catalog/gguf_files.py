"""GGUF files made byte by byte, so that every field can be wrong. It knows the format only."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

UINT16, UINT32, INT32, FLOAT32, STRING, ARRAY, UINT64 = 2, 4, 5, 6, 8, 9, 10
_FORMATS = {UINT16: "<H", UINT32: "<I", INT32: "<i", FLOAT32: "<f", UINT64: "<Q"}

Pair = tuple[str, int, Any]
TensorSpec = tuple[str, tuple[int, ...], int, int]


def text(value: str | bytes) -> bytes:
    """A string as GGUF writes it."""
    content = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(content)) + content


def array(element_type: int, values: list[Any], *, count: int | None = None) -> bytes:
    """An array's value; `count` may lie."""
    start = struct.pack("<IQ", element_type, len(values) if count is None else count)
    if element_type == STRING:
        return start + b"".join(map(text, values))
    return start + b"".join(struct.pack(_FORMATS[element_type], value) for value in values)


def pair(key: str | bytes, kind: int, value: Any) -> bytes:
    """A key with its value; `bytes` as the value are written as they are."""
    start = text(key) + struct.pack("<I", kind)
    if isinstance(value, bytes):
        return start + value
    return start + (text(value) if kind == STRING else struct.pack(_FORMATS[kind], value))


@dataclass
class GgufFile:
    """A small llama model: valid until a field is changed. Tensors: (name, shape, type, offset)."""

    magic: bytes = b"GGUF"
    version: int = 3
    key_count: int | None = None
    tensor_count: int | None = None
    data_size: int = 64
    tensors: list[TensorSpec] = field(default_factory=lambda: [("output.weight", (4, 4), 0, 0)])
    pairs: dict[str, tuple[int, Any]] = field(
        default_factory=lambda: {
            "general.architecture": (STRING, "llama"),
            "general.name": (STRING, "bytes"),
            "llama.context_length": (UINT32, 128),
            "llama.embedding_length": (UINT32, 4),
            "llama.block_count": (UINT32, 1),
            "llama.attention.head_count": (UINT32, 2),
            "tokenizer.ggml.model": (STRING, "gpt2"),
            "tokenizer.ggml.tokens": (ARRAY, array(STRING, ["a", "b", "c"])),
            "tokenizer.ggml.scores": (ARRAY, array(FLOAT32, [0.0, 0.0, 0.0])),
            "tokenizer.ggml.token_type": (ARRAY, array(INT32, [1, 1, 1])),
        }
    )
    extra: list[bytes] = field(default_factory=list)

    def build(self) -> bytes:
        """The file's bytes."""
        pairs = [pair(key, *value) for key, value in self.pairs.items()] + self.extra
        keys = len(pairs) if self.key_count is None else self.key_count
        tensors = len(self.tensors) if self.tensor_count is None else self.tensor_count
        header = self.magic + struct.pack("<IQQ", self.version, tensors, keys) + b"".join(pairs)
        for name, shape, kind, offset in self.tensors:
            header += text(name) + struct.pack("<I", len(shape))
            header += struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset)
        return header + bytes(-len(header) % 32) + bytes(self.data_size)


def with_pair(key: str, kind: int, value: Any) -> bytes:
    """The valid file with one key set."""
    file = GgufFile()
    file.pairs[key] = (kind, value)
    return file.build()


def without(key: str) -> bytes:
    """The valid file with one key missing."""
    file = GgufFile()
    del file.pairs[key]
    return file.build()


def with_tensor(
    shape: tuple[int, ...] = (4, 4), kind: int = 0, offset: int = 0, name: str = "output.weight"
) -> bytes:
    """The valid file with another tensor in place of its only one."""
    return GgufFile(tensors=[(name, shape, kind, offset)]).build()
