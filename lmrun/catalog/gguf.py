"""What must be true of a GGUF file before native code may open it.

llama.cpp ends the whole process on some of these. Too costly for a listing, done before a load.
It knows no engine's settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from lmrun.catalog.gguf_header import GgufHeader, Role, describe, read_header
from lmrun.catalog.gguf_reader import (
    FLOAT32,
    INT32,
    STRING,
    UINT32,
    ArrayValue,
    RawGguf,
    Tensor,
    open_window,
    parse_container,
)
from lmrun.catalog.gguf_types import TENSOR_TYPES
from lmrun.errors import ModelInvalid

_PART_NAME = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
_TOKENS = "tokenizer.ggml.tokens"
_WITHOUT_TOKENS = ("no_vocab", "none")
"""Tokenizer kinds of models that take no text."""
_NO_MODELS: dict[Role, tuple[str, str | None]] = {
    "mmproj": ("a projector", "Name it as the `load.mmproj` of the model that it belongs to."),
    "adapter": ("a LoRA adapter", "Name it in the `load.adapters` of the model it is for."),
    "other": ("a vocabulary or another fragment", None),
}


def check_before_load(path: Path) -> GgufHeader:
    """Everything `read_header` checks, and all that needs a closer look. Raises ModelInvalid."""
    with open_window(path) as window:
        raw = parse_container(window)
        header = describe(raw)
        _check_role(path, header)
        check_tensors(raw)
        _check_tokenizer(raw, header)
    _check_parts(path, header)
    return header


def find_parts(path: Path, header: GgufHeader) -> tuple[Path, ...]:
    """All files of a model whose first is `path`, existing or not. Raises ModelInvalid."""
    if header.split_count <= 1:
        return (path,)
    name = _PART_NAME.fullmatch(path.name)
    if name is None or (int(name["number"]), int(name["count"])) != (1, header.split_count):
        raise ModelInvalid(
            f"{path}: is the first of {header.split_count} parts and must be named so.",
            hint=f"Name it `…-00001-of-{header.split_count:05}.gguf`, as it was published.",
        )
    total = name["count"]
    return tuple(
        path.with_name(f"{name['stem']}-{number:05}-of-{total}.gguf")
        for number in range(1, header.split_count + 1)
    )


def parse_part_name(name: str) -> tuple[str, int, int] | None:
    """Stem, number (from 1) and count of a split file's name; None for other names."""
    match = _PART_NAME.fullmatch(name)
    return (match["stem"], int(match["number"]), int(match["count"])) if match else None


def _check_role(path: Path, header: GgufHeader) -> None:
    if header.role == "part":
        raise ModelInvalid(
            f"{path}: is part {header.split_no + 1} of {header.split_count}.",
            hint="Name the first part, `…-00001-of-…`.",
        )
    if header.role != "model":
        what, hint = _NO_MODELS[header.role]
        raise ModelInvalid(f"{path}: is no model by itself but {what}.", hint=hint)


def check_tensors(raw: RawGguf) -> None:
    """Raises ModelInvalid when tensors do not lie in the file as their descriptions say."""
    if not raw.tensors:
        raw.window.fail("it holds no tensors")
    available = raw.window.size - raw.data_start
    for tensor in raw.tensors:
        _check_tensor(raw, tensor, available)


def _check_tensor(raw: RawGguf, tensor: Tensor, available: int) -> None:
    fail = raw.window.fail
    kind = TENSOR_TYPES.get(tensor.type)
    if kind is None:
        fail(f"the tensor {tensor.name!r} has the unknown type {tensor.type}")
    if tensor.dimensions[0] % kind.block_size:
        fail(f"the rows of {tensor.name!r} are not whole blocks of {kind.name}")
    if tensor.offset % raw.alignment:
        fail(f"the tensor {tensor.name!r} is not aligned to {raw.alignment} bytes")
    size = kind.block_bytes
    for dimension in tensor.dimensions:
        size *= dimension
    size //= kind.block_size
    # Python's integers do not overflow, which is the point of computing this here.
    excess = tensor.offset + size - available
    if excess > 0:
        fail(f"the tensor {tensor.name!r} ends {excess} bytes after the file")


def _check_tokenizer(raw: RawGguf, header: GgufHeader) -> None:
    fail = raw.window.fail
    if header.tokenizer is None:
        fail("the key tokenizer.ggml.model is missing")
    for key, value in raw.metadata.items():
        if isinstance(value.value, ArrayValue) and value.value.element_type == STRING:
            _check_strings(raw, key, raw.strings(value.value))
    if header.tokenizer in _WITHOUT_TOKENS:
        return
    tokens = _array(raw, _TOKENS, (STRING,))
    if tokens is None or tokens.count == 0:
        fail(f"the key {_TOKENS} is missing or empty")
    _check_unique(raw, raw.strings(tokens))
    for name, types in (("scores", (FLOAT32,)), ("token_type", (INT32, UINT32))):
        array = _array(raw, f"tokenizer.ggml.{name}", types)
        if array is not None and array.count != tokens.count:
            fail(f"tokenizer.ggml.{name} has {array.count} entries for {tokens.count} tokens")
    _array(raw, "tokenizer.ggml.merges", (STRING,))


def _array(raw: RawGguf, key: str, element_types: tuple[int, ...]) -> ArrayValue | None:
    found = raw.metadata.get(key)
    if found is None:
        return None
    if not isinstance(found.value, ArrayValue) or found.value.element_type not in element_types:
        raw.window.fail(f"{key} is not an array of the type it must have")
    return found.value


def _check_strings(raw: RawGguf, key: str, strings: Iterable[bytes]) -> None:
    for index, content in enumerate(strings):
        if b"\0" in content:
            raw.window.fail(f"entry {index} of {key} contains a NUL")


def _check_unique(raw: RawGguf, tokens: Iterable[bytes]) -> None:
    """llama.cpp asserts this; it names empty tokens by their index first, and so do we."""
    seen: dict[bytes, int] = {}
    for index, token in enumerate(tokens):
        first = seen.setdefault(token or b"[EMPTY_%d]" % index, index)
        if first != index:
            text = token.decode("utf-8", "replace")[:80]
            raw.window.fail(f"the tokens {first} and {index} are both {text!r}")


def _check_parts(path: Path, header: GgufHeader) -> None:
    for number, part in enumerate(find_parts(path, header)):
        if number == 0:
            continue
        if not part.exists():
            raise ModelInvalid(
                f"{part}: part {number + 1} of {header.split_count} is missing.",
                hint="All parts must lie beside the first.",
            )
        _check_part(part, number, header.split_count)


def _check_part(part: Path, number: int, count: int) -> None:
    found = read_header(part)
    if (found.split_no, found.split_count) != (number, count):
        raise ModelInvalid(
            f"{part}: calls itself part {found.split_no + 1} of {found.split_count}, "
            f"not {number + 1} of {count}."
        )
    with open_window(part) as window:
        check_tensors(parse_container(window))
