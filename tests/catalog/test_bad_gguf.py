"""Broken and hostile model files: each one is refused with its reason, and with nothing else."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.catalog.gguf import check_before_load
from lmrun.catalog.gguf_header import read_header
from lmrun.errors import ModelInvalid
from tests.catalog.gguf_files import (
    ARRAY,
    FLOAT32,
    INT32,
    STRING,
    UINT16,
    UINT32,
    UINT64,
    GgufFile,
    array,
    pair,
    text,
    with_pair,
    with_tensor,
    without,
)
from tests.support.tiny_llama import TinyShape, write_tiny_llama

VALID = GgufFile().build()
HEADER_END = VALID.rindex(b"output.weight") + len(b"output.weight")

BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "ends inside its first 8 bytes"),
    "magic only": (b"GGUF", "ends inside its first 8 bytes"),
    "random bytes": (bytes(range(256)) * 4, "no GGUF file"),
    "wrong magic": (GgufFile(magic=b"GGML").build(), "no GGUF file"),
    "html page": (b"<!doctype html><title>404</title>", "no GGUF file"),
    "git lfs pointer": (b"version https://git-lfs.github.com/spec/v1\n", "no GGUF file"),
    "version 1": (GgufFile(version=1).build(), "version 1 is not supported"),
    "version 4": (GgufFile(version=4).build(), "version 4 is not supported"),
    "big-endian": (GgufFile(version=3 << 24).build(), "big-endian"),
    "cut in the counts": (VALID[:20], "ends inside the number of keys"),
    "cut in a key": (VALID[:36], "ends inside a key"),
    "cut in a value": (VALID[:60], "ends inside the value of 'general.architecture'"),
    "cut in the tokens": (VALID[: VALID.index(b"ggml.tokens") + 30], "the array"),
    "cut in the tensors": (VALID[:HEADER_END], "ends inside the description"),
    "cut in the data": (VALID[:-1], "ends 1 bytes after the file"),
    "2^63 keys": (GgufFile(key_count=2**63).build(), "claims 9223372036854775808 keys"),
    "too many keys": (GgufFile(key_count=100_001).build(), "claims 100001 keys"),
    "one key too many": (GgufFile(key_count=11).build(), "the file ends|unknown type|more than"),
    "2^40 tensors": (GgufFile(tensor_count=2**40).build(), "claims 1099511627776 tensors"),
    "one tensor too many": (GgufFile(tensor_count=2).build(), "'' has 0 dimensions"),
    "no tensors": (GgufFile(tensors=[]).build(), "holds no tensors"),
    "key length 2^64-1": (
        GgufFile(extra=[struct.pack("<Q", 2**64 - 1) + b"x"]).build(),
        "a key has 18446744073709551615 bytes",
    ),
    "string length 2^63": (
        GgufFile(extra=[text("k") + struct.pack("<IQ", STRING, 2**63)]).build(),
        "the value of 'k' has 9223372036854775808 bytes",
    ),
    "array length 2^61": (
        with_pair("k", ARRAY, array(UINT64, [], count=2**61)),
        "ends inside the array 'k'",
    ),
    "array length 2^62 of strings": (
        with_pair("k", ARRAY, array(STRING, [], count=2**62)),
        "claims 4611686018427387904 strings",
    ),
    "long string in an array": (
        with_pair("k", ARRAY, struct.pack("<IQQ", STRING, 1, 2**60)),
        "has a string of 1152921504606846976 bytes",
    ),
    "nested array": (with_pair("k", ARRAY, struct.pack("<IQ", ARRAY, 1)), "'k' is nested"),
    "unknown value type": (GgufFile(extra=[pair("k", 77, b"")]).build(), "unknown type 77"),
    "unknown element type": (with_pair("k", ARRAY, struct.pack("<IQ", 13, 0)), "element type 13"),
    "duplicate key": (
        GgufFile(extra=[pair("general.name", STRING, "again")]).build(),
        "'general.name' occurs twice",
    ),
    "NUL in a key": (GgufFile(extra=[pair("a\0b", UINT32, 1)]).build(), "a key contains a NUL"),
    "key not UTF-8": (GgufFile(extra=[pair(b"\xff", UINT32, 1)]).build(), "a key is not UTF-8"),
    "NUL in a value": (with_pair("general.name", STRING, "a\0b"), "contains a NUL"),
    "name not UTF-8": (with_pair("general.name", STRING, text(b"\xc3\x28")), "is not UTF-8"),
    "alignment 0": (with_pair("general.alignment", UINT32, 0), "not a power of two"),
    "alignment 24": (with_pair("general.alignment", UINT32, 24), "not a power of two"),
    "alignment a string": (with_pair("general.alignment", STRING, "32"), "type string, not uint32"),
    "alignment huge": (with_pair("general.alignment", UINT32, 2**31), "after the file"),
    "architecture missing": (without("general.architecture"), "general.architecture is missing"),
    "architecture a number": (
        with_pair("general.architecture", UINT32, 1),
        "type uint32, not string",
    ),
    "other architecture": (with_pair("general.architecture", STRING, "gemma"), "is missing"),
    "block_count 0": (with_pair("llama.block_count", UINT32, 0), "is 0, not 1 to 512"),
    "block_count 513": (with_pair("llama.block_count", UINT32, 513), "is 513, not 1 to 512"),
    "block_count 2^32-1": (with_pair("llama.block_count", UINT32, 2**32 - 1), "not 1 to 512"),
    "block_count a string": (
        with_pair("llama.block_count", STRING, "1"),
        "type string, not uint32",
    ),
    "block_count a float": (with_pair("llama.block_count", FLOAT32, 1.0), "type float32"),
    "block_count an array": (
        with_pair("llama.block_count", ARRAY, array(UINT32, [1])),
        "type array",
    ),
    "block_count missing": (without("llama.block_count"), "llama.block_count is missing"),
    "context_length 0": (with_pair("llama.context_length", UINT32, 0), "context_length is 0"),
    "context_length missing": (without("llama.context_length"), "context_length is missing"),
    "embedding_length 0": (with_pair("llama.embedding_length", UINT32, 0), "is 0, not"),
    "head_count 0": (with_pair("llama.attention.head_count", UINT32, 0), "is 0, not 1 to 1024"),
    "head_count 1025": (with_pair("llama.attention.head_count", UINT32, 1025), "not 1 to 1024"),
    "head_count missing": (without("llama.attention.head_count"), "head_count is missing"),
    "head_count -1 in an array": (
        with_pair("llama.attention.head_count", ARRAY, array(INT32, [-1])),
        "is -1, not 0 to 1024",
    ),
    "head_count for too few layers": (
        with_pair("llama.attention.head_count", ARRAY, array(INT32, [])),
        "not one integer for each of the 1 layers",
    ),
    "head_count_kv 0": (with_pair("llama.attention.head_count_kv", UINT32, 0), "is 0, not 1"),
    "head_count_kv uneven": (
        with_pair("llama.attention.head_count_kv", UINT32, 3),
        "2 heads cannot share 3",
    ),
    "too many experts": (with_pair("llama.expert_count", UINT32, 513), "not 0 to 512"),
    "more experts used than there are": (
        with_pair("llama.expert_used_count", UINT32, 2),
        "2 of 0 experts",
    ),
    "huge template": (
        with_pair("tokenizer.chat_template", STRING, "{" * 256_001),
        "chat template is longer than 256000 bytes",
    ),
    "template a number": (with_pair("tokenizer.chat_template", UINT32, 1), "type uint32"),
    "tokenizer missing": (without("tokenizer.ggml.model"), "tokenizer.ggml.model is missing"),
    "tokens missing": (without("tokenizer.ggml.tokens"), "tokens is missing or empty"),
    "tokens empty": (with_pair("tokenizer.ggml.tokens", ARRAY, array(STRING, [])), "or empty"),
    "tokens numbers": (
        with_pair("tokenizer.ggml.tokens", ARRAY, array(UINT32, [1])),
        "of the type",
    ),
    "tokens a string": (with_pair("tokenizer.ggml.tokens", STRING, "abc"), "of the type"),
    "duplicate token": (
        with_pair("tokenizer.ggml.tokens", ARRAY, array(STRING, ["a", "b", "a"])),
        "tokens 0 and 2 are both 'a'",
    ),
    "duplicate of an empty token's name": (
        with_pair("tokenizer.ggml.tokens", ARRAY, array(STRING, ["[EMPTY_1]", "", "a"])),
        "tokens 0 and 1 are both",
    ),
    "NUL in a token": (
        with_pair("tokenizer.ggml.tokens", ARRAY, array(STRING, ["a", "b\0", "c"])),
        "entry 1 of tokenizer.ggml.tokens contains a NUL",
    ),
    "too few scores": (
        with_pair("tokenizer.ggml.scores", ARRAY, array(FLOAT32, [0.0])),
        "scores has 1 entries for 3 tokens",
    ),
    "scores integers": (with_pair("tokenizer.ggml.scores", ARRAY, array(INT32, [0])), "the type"),
    "too few token types": (
        with_pair("tokenizer.ggml.token_type", ARRAY, array(INT32, [1, 1])),
        "token_type has 2 entries for 3 tokens",
    ),
    "merges numbers": (with_pair("tokenizer.ggml.merges", ARRAY, array(UINT32, [0])), "the type"),
    "zero dimension": (with_tensor(shape=(4, 0)), "impossible shape 4 x 0"),
    "dimension 2^31": (with_tensor(shape=(2**31,)), "impossible shape"),
    "dimensions that overflow": (with_tensor(shape=(2**30, 2**30, 2**30, 2**30)), "after the file"),
    "no dimensions": (with_tensor(shape=()), "has 0 dimensions"),
    "five dimensions": (with_tensor(shape=(1, 1, 1, 1, 1)), "has 5 dimensions"),
    "unknown tensor type": (with_tensor(kind=99), "unknown type 99"),
    "removed tensor type": (with_tensor(kind=4), "unknown type 4"),
    "part of a block": (with_tensor(kind=2), "not whole blocks of Q4_0"),
    "offset unaligned": (with_tensor(offset=8), "not aligned to 32"),
    "offset beyond the end": (with_tensor(offset=64), "ends 64 bytes after the file"),
    "offset 2^63-32": (with_tensor(offset=2**63 - 32), "after the file"),
    "offset 2^64-32": (with_tensor(offset=2**64 - 32), "after the file"),
    "one element too many": (with_tensor(shape=(17,)), "ends 4 bytes after the file"),
    "tensor name too long": (with_tensor(name="x" * 64), "name has 64 bytes"),
    "duplicate tensor": (
        GgufFile(tensors=[("w", (4,), 0, 0), ("w", (4,), 0, 32)]).build(),
        "the tensor 'w' occurs twice",
    ),
    "an adapter": (with_pair("general.type", STRING, "adapter"), "no model by itself"),
    "a projector": (with_pair("general.architecture", STRING, "clip"), "no model by itself"),
    "a later part": (with_pair("split.no", UINT16, 1), "is part 2 of 1"),
    "split.no of the wrong type": (with_pair("split.no", UINT32, 1), "type uint32, not uint16"),
}


def test_the_file_that_the_bad_ones_are_made_from_is_good(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(VALID)
    assert check_before_load(tmp_path / "m.gguf").block_count == 1


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_with_its_path_and_reason(tmp_path: Path, name: str) -> None:
    content, reason = BAD_FILES[name]
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelInvalid, match=reason) as caught:
        check_before_load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("kind", ["directory", "pipe", "missing", "device", "loop"])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "m.gguf"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "missing":
        path.symlink_to("/dev/zero" if kind == "device" else path)
    with pytest.raises(ModelInvalid, match=r"m\.gguf: (is not a regular file|cannot be read)"):
        check_before_load(path)


def _write_parts(folder: Path, second: bytes | None) -> Path:
    first = GgufFile()
    first.pairs["split.no"] = (UINT16, 0)
    first.pairs["split.count"] = (UINT16, 2)
    path = folder / "m-00001-of-00002.gguf"
    path.write_bytes(first.build())
    if second is not None:
        (folder / "m-00002-of-00002.gguf").write_bytes(second)
    return path


def _second_part(number: int = 1, **changed: int) -> bytes:
    pairs = {"split.no": (UINT16, number), "split.count": (UINT16, 2)}
    return GgufFile(pairs=pairs, **changed).build()  # type: ignore[arg-type]  # only sizes change


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (None, "m-00002-of-00002.gguf: part 2 of 2 is missing"),
        (b"GGUF", "m-00002-of-00002.gguf: the file ends"),
        (_second_part(0), "calls itself|is missing"),
        (_second_part(data_size=32), "m-00002-of-00002.gguf: .* after the file"),
    ],
)
def test_every_part_of_a_split_model_is_checked(
    tmp_path: Path, second: bytes | None, reason: str
) -> None:
    with pytest.raises(ModelInvalid, match=reason):
        check_before_load(_write_parts(tmp_path, second))


def test_a_complete_split_model_is_accepted_by_its_first_part_only(tmp_path: Path) -> None:
    first = _write_parts(tmp_path, _second_part())
    assert check_before_load(first).split_count == 2
    with pytest.raises(ModelInvalid, match="Name the first part"):
        check_before_load(tmp_path / "m-00002-of-00002.gguf")
    renamed = first.rename(tmp_path / "other.gguf")
    with pytest.raises(ModelInvalid, match="00001-of-00002"):
        check_before_load(renamed)


def test_a_header_without_end_is_refused_at_its_limit(tmp_path: Path) -> None:
    many = GgufFile(extra=[pair(f"k{n}", STRING, "x" * 2**23) for n in range(8)]).build()
    path = tmp_path / "m.gguf"
    path.write_bytes(many)
    with pytest.raises(ModelInvalid, match="header is longer than 67108864 bytes"):
        read_header(path)


def test_a_file_full_of_empty_strings_takes_bounded_time(tmp_path: Path) -> None:
    strings = struct.pack("<IQ", STRING, 2**22) + bytes(8 * 2**22)
    path = tmp_path / "m.gguf"
    path.write_bytes(with_pair("k", ARRAY, strings))
    started = time.monotonic()
    assert read_header(path).block_count == 1
    assert time.monotonic() - started < 10


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    shape = TinyShape(layers=1, embedding=8, feed_forward=8, heads=2, kv_heads=1, vocab_size=259)
    return write_tiny_llama(path, shape=shape).read_bytes()


def _check(folder: Path, content: bytes) -> None:
    """Only ModelInvalid may come out, and soon."""
    path = folder / "mutant.gguf"
    path.write_bytes(content)
    for check in (read_header, check_before_load):
        try:
            check(path)
        except ModelInvalid as error:
            assert str(path) in str(error)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutants")


@settings(max_examples=400, deadline=2000)
@given(data=st.data())
def test_a_mutant_of_a_good_file_raises_nothing_but_model_invalid(
    folder: Path, tiny_model: bytes, data: st.DataObject
) -> None:
    content = bytearray(tiny_model)
    header = len(content) - 259 * 8 * 4 * 2
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, header))
        patch = data.draw(
            st.one_of(
                st.binary(min_size=1, max_size=12),
                st.sampled_from(
                    [struct.pack("<Q", n) for n in (0, 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)]
                ),
            )
        )
        content[place : place + len(patch)] = patch
    _check(folder, bytes(content[: data.draw(st.integers(0, len(content)))]))
    _check(folder, bytes(content))


@settings(max_examples=200, deadline=2000)
@given(content=st.binary(max_size=300), start=st.sampled_from([b"", b"GGUF", VALID[:24]]))
def test_random_bytes_raise_nothing_but_model_invalid(
    folder: Path, content: bytes, start: bytes
) -> None:
    _check(folder, start + content)


def test_a_file_cut_anywhere_is_refused(folder: Path) -> None:
    path = folder / "cut.gguf"
    for length in range(len(VALID)):
        path.write_bytes(VALID[:length])
        with pytest.raises(ModelInvalid):
            check_before_load(path)
