"""What a header says of a good model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import pytest

from lmrun.catalog.gguf import check_before_load
from lmrun.catalog.gguf_header import read_header
from lmrun.catalog.gguf_types import FILE_TYPES, TENSOR_TYPES
from tests.catalog.gguf_files import ARRAY, INT32, STRING, UINT32, GgufFile, array
from tests.support.smollm2 import smollm2_path
from tests.support.tiny_llama import CHATML, TinyShape, write_tiny_llama


def write(folder: Path, **pairs: tuple[int, Any]) -> Path:
    """The valid file with some keys set; `__` in a name stands for a dot."""
    file = GgufFile()
    file.pairs |= {key.replace("__", "."): value for key, value in pairs.items()}
    path = folder / "m.gguf"
    path.write_bytes(file.build())
    return path


def write_architecture(folder: Path, name: str, **more: tuple[int, Any]) -> Path:
    """The valid file as another architecture."""
    file = GgufFile()
    file.pairs = {key.replace("llama.", f"{name}."): each for key, each in file.pairs.items()}
    file.pairs["general.architecture"] = (STRING, name)
    file.pairs |= {f"{name}.{key.replace('__', '.')}": value for key, value in more.items()}
    path = folder / "m.gguf"
    path.write_bytes(file.build())
    return path


def test_a_written_model_is_described(tmp_path: Path) -> None:
    shape = TinyShape(layers=3, embedding=32, heads=4, kv_heads=2, context_length=512)
    path = write_tiny_llama(tmp_path / "m.gguf", shape=shape, name="ténu")
    header = check_before_load(path)
    assert header == read_header(path)
    assert (header.architecture, header.name, header.size_label) == ("llama", "ténu", "300K")
    assert (header.quantization, header.type, header.role) == ("F32", "llm", "model")
    assert (header.context_length, header.block_count, header.embedding_length) == (512, 3, 32)
    assert (header.head_count, header.head_count_kv, header.heads_kv) == (4, 2, (2, 2, 2))
    assert (header.key_length, header.value_length) == (8, 8)
    assert (header.tokenizer, header.chat_template) == ("gpt2", CHATML)
    assert header.file_size == path.stat().st_size


def test_the_real_model_is_described() -> None:
    header = check_before_load(smollm2_path())
    assert (header.architecture, header.size_label, header.quantization) == (
        "llama",
        "135M",
        "Q4_1",
    )
    assert (header.context_length, header.block_count) == (8192, 30)
    assert (header.head_count, header.head_count_kv, header.key_length) == (9, 3, 64)
    assert header.chat_template is not None
    assert "<|im_start|>" in header.chat_template


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        ("llama", "llm"),
        ("qwen3", "llm"),
        ("qwen2vl", "vlm"),
        ("qwen3vlmoe", "vlm"),
        ("bert", "embedding"),
        ("nomic-bert", "embedding"),
        ("gemma-embedding", "embedding"),
    ],
)
def test_the_architecture_tells_the_type(tmp_path: Path, architecture: str, kind: str) -> None:
    assert read_header(write_architecture(tmp_path, architecture)).type == kind


def test_a_language_model_with_pooling_embeds(tmp_path: Path) -> None:
    path = write_architecture(tmp_path, "qwen3", pooling_type=(UINT32, 3))
    assert read_header(path).type == "embedding"
    path = write_architecture(tmp_path, "qwen3", pooling_type=(UINT32, 0))
    assert read_header(path).type == "llm"


def test_layers_may_differ_in_heads_and_have_none(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        llama__block_count=(UINT32, 3),
        llama__attention__head_count=(ARRAY, array(INT32, [2, 0, 4])),
        llama__attention__head_count_kv=(ARRAY, array(INT32, [1, 0, 2])),
    )
    header = check_before_load(path)
    assert (header.head_count, header.head_count_kv, header.heads_kv) == (4, 2, (1, 0, 2))


def test_a_recurrent_model_needs_no_heads(tmp_path: Path) -> None:
    path = write_architecture(
        tmp_path, "mamba", ssm__state_size=(UINT32, 16), attention__head_count=(UINT32, 0)
    )
    assert check_before_load(path).heads_kv == (0,)


def test_without_a_claimed_type_the_weights_tell_it(tmp_path: Path) -> None:
    file = GgufFile(
        tensors=[("norm", (32,), 0, 0), ("w", (32, 8), 8, 128)], data_size=128 + 8 * 34 + 32
    )
    path = tmp_path / "m.gguf"
    path.write_bytes(file.build())
    assert read_header(path).quantization == "Q8_0"


def test_empty_tokens_are_no_duplicates(tmp_path: Path) -> None:
    path = write(tmp_path, tokenizer__ggml__tokens=(ARRAY, array(STRING, ["", "", "a"])))
    assert check_before_load(path).tokenizer == "gpt2"


def test_the_type_tables_are_those_of_the_format() -> None:
    theirs = {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    assert {number: (kind[1], kind[2]) for number, kind in TENSOR_TYPES.items()} == theirs
    names = {int(kind): kind.name for kind in gguf.GGMLQuantizationType}
    assert all(names[number] == kind.name for number, kind in TENSOR_TYPES.items())
    claimed = {int(kind): kind.name for kind in gguf.LlamaFileType if kind.name != "GUESSED"}
    assert claimed.keys() == FILE_TYPES.keys()
    assert all(
        claimed[number].split("_", 1)[1].startswith(FILE_TYPES[number]) for number in claimed
    )
