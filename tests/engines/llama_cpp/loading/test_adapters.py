"""Adapters that fit change the text; others are refused by name before native code runs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from lmrun.catalog.gguf_header import read_header
from lmrun.engines.base import AdapterFile, Attachments
from lmrun.engines.llama_cpp.loading.adapters import set_adapters
from lmrun.engines.llama_cpp.loading.native import NativeModel, load_native
from lmrun.engines.registry import get_engine
from lmrun.errors import ModelInvalid, SettingRefused
from lmrun.settings.load import LoadConfig
from tests.engines.llama_cpp.bare import read_logits
from tests.support.bert import bert_path
from tests.support.engines import Subject, spec
from tests.support.gguf_files import finish
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_lora import EMBEDDING, RANK, write_tiny_lora

PROMPT = spec(1, prompt_length=20).prompt
NORM = {"blk.0.attn_norm.weight": np.ones(EMBEDDING, dtype=np.float32)}
DEEP = {
    f"blk.0.attn_k.weight.lora_{half}": np.ones((2, *shape), dtype=np.float32)
    for half, shape in (("a", (RANK, EMBEDDING)), ("b", (32, RANK)))
}
LONE = {"blk.0.attn_k.weight.lora_a": np.ones((RANK, EMBEDDING), dtype=np.float32)}
NARROW = {
    "blk.0.attn_k.weight.lora_a": np.ones((RANK, EMBEDDING), dtype=np.float32),
    "blk.0.attn_k.weight.lora_b": np.ones((31, RANK), dtype=np.float32),
}
MIXED_RANKS = {
    "token_embd.weight.lora_a": np.ones((512, RANK), dtype=np.float32),
    "token_embd.weight.lora_b": np.ones((EMBEDDING, RANK + 1), dtype=np.float32),
}
VECTOR = {
    "output_norm.weight.lora_a": np.ones((1, EMBEDDING), dtype=np.float32),
    "output_norm.weight.lora_b": np.ones((1, 1), dtype=np.float32),
}


@contextmanager
def open_with(model: Path, *adapters: Path, **config: Any) -> Iterator[NativeModel]:
    """The model with adapters named by their files' stems."""
    files = tuple(AdapterFile(path.stem, str(path), 0.5) for path in adapters)
    given = LoadConfig.model_validate({"max_parallel_predictions": 1, **config})
    loaded = load_native(model, given, 1, lambda fraction: None, Attachments(adapters=files))
    try:
        yield loaded
    finally:
        loaded.close()


def logits_with(model: NativeModel, scales: dict[str, float]) -> bytes:
    set_adapters(model.context, model.adapters, scales)
    (logits,) = read_logits(model, PROMPT, [])
    return logits.tobytes()


def test_adapters_are_set_scaled_combined_and_taken_off(tiny: Subject, tmp_path: Path) -> None:
    first = write_tiny_lora(tmp_path / "first.gguf", seed=1)
    second = write_tiny_lora(tmp_path / "second.gguf", seed=2)
    scales: list[dict[str, float]] = [
        {},
        {"first": 1.0},
        {"first": 0.5},
        {"second": 1.0},
        {"first": 1.0, "second": 1.0},
    ]
    with open_with(tiny.path, first, second) as model:
        assert model.info.adapters == ("first", "second")
        assert [model.adapters[name].scale for name in ("first", "second")] == [0.5, 0.5]
        seen = [logits_with(model, chosen) for chosen in scales]
        assert len(set(seen)) == len(scales)
        assert logits_with(model, {"first": 0.0}) == logits_with(model, {}) == seen[0]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"architecture": "qwen2"}, "architecture 'qwen2', the model has 'llama'"),
        ({"kind": "control_vector"}, "'control_vector', not lora"),
        ({"width": 32}, "do not fit"),
        ({"layers": 5}, "no tensor 'blk.4.attn_q.weight'"),
        ({"extra": NORM}, "no part of a LoRA"),
        ({"extra": DEEP}, "do not fit"),
        ({"extra": LONE}, "no counterpart"),
        ({"extra": NARROW}, "do not fit"),
        ({"extra": MIXED_RANKS}, "do not fit"),
        ({"extra": VECTOR}, "cannot apply"),
    ],
    ids=[
        "another architecture",
        "no lora",
        "another width",
        "more layers",
        "norms",
        "three dimensions",
        "half a pair",
        "a wrong row count",
        "two ranks",
        "a vector",
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_by_name(
    tiny: Subject, tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    path = write_tiny_lora(tmp_path / "other.gguf", **fields)
    with (
        pytest.raises(SettingRefused, match=r"load\.adapters") as refused,
        open_with(tiny.path, path),
    ):
        pass
    assert refused.value.param == "load.adapters"
    assert str(path) in refused.value.message and words in refused.value.message


def test_a_model_is_no_adapter(tiny: Subject, tmp_path: Path) -> None:
    model = write_tiny_llama(tmp_path / "model.gguf")
    with pytest.raises(SettingRefused, match="no adapter but a model"), open_with(tiny.path, model):
        pass


def test_an_adapter_that_waits_for_tokens_is_refused(tiny: Subject, tmp_path: Path) -> None:
    path = tmp_path / "activated.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_array("adapter.alora.invocation_tokens", [1, 2])
    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.ones((RANK, EMBEDDING), dtype=np.float32))
    finish(writer)
    with pytest.raises(SettingRefused, match="aLoRA"), open_with(tiny.path, path):
        pass


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.99])
def test_a_cut_adapter_is_refused(tiny: Subject, tmp_path: Path, keep: float) -> None:
    path = write_tiny_lora(tmp_path / "cut.gguf")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(ModelInvalid, match=r"cut\.gguf"), open_with(tiny.path, path):
        pass


def test_an_embedding_model_always_uses_its_adapters(tmp_path: Path) -> None:
    vectors = []
    for strength in (None, 0.0, 3.0):
        path = tmp_path / f"lora{strength}.gguf"
        files = () if strength is None else (_write_for_bert(path, strength),)
        given = Attachments(adapters=tuple(AdapterFile("a", str(file)) for file in files))
        model = get_engine("llama_cpp").load(
            bert_path(),
            LoadConfig(),
            threads=1,
            on_progress=lambda fraction: None,
            attachments=given,
        )
        vectors.append(model.embed([[101, 2023, 102]])[0])
        model.close()
    assert vectors[0] == vectors[1] != vectors[2]


def _write_for_bert(path: Path, strength: float) -> Path:
    header = read_header(bert_path())
    return write_tiny_lora(
        path,
        strength=strength,
        architecture=header.architecture,
        width=header.embedding_length,
        layers=header.block_count,
    )
