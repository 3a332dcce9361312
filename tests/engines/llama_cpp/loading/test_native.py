"""What a loaded model says of itself, and whether two speak of the same tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from llama_cpp import llama_cpp as native

from lmrun.engines.llama_cpp.loading.context import make_strict_context
from lmrun.engines.llama_cpp.loading.native import load_native, require_same_vocabulary
from lmrun.engines.llama_cpp.loading.weights import Weights, load_weights
from lmrun.errors import SettingRefused
from lmrun.settings.load import LoadConfig
from tests.engines.llama_cpp.bare import bare_model
from tests.support.bert import bert_path
from tests.support.engines import Subject
from tests.support.tiny_llama import TinyShape, write_tiny_llama
from tests.support.tiny_variants import write_tiny_gemma2, write_tiny_mamba


@contextmanager
def weights_of(path: Path) -> Iterator[Weights]:
    loaded = load_weights(path, LoadConfig(), lambda fraction: None)
    try:
        yield loaded
    finally:
        loaded.free()


@pytest.mark.parametrize(
    ("write", "settings", "can_cut", "can_share"),
    [
        (write_tiny_llama, {"unified_kv_cache": True}, True, True),
        (write_tiny_llama, {}, True, False),
        (write_tiny_mamba, {}, False, False),
        (write_tiny_gemma2, {}, False, False),
    ],
    ids=["shared cache", "separate caches", "recurrent", "sliding window"],
)
def test_what_a_memory_can_do_is_known(
    tmp_path: Path,
    write: Callable[[Path], Path],
    settings: dict[str, bool],
    can_cut: bool,
    can_share: bool,
) -> None:
    with bare_model(Subject(write(tmp_path / "m.gguf")), **settings) as model:
        assert (model.traits.can_cut, model.traits.can_share) == (can_cut, can_share)


def test_a_strict_context_is_the_same_on_every_machine(tiny: Subject) -> None:
    config = LoadConfig(context_length=512, k_cache_type="f32", max_parallel_predictions=8)
    model = load_native(tiny.path, config, 1, lambda fraction: None)
    context = make_strict_context(model.weights, config, 1)
    assert native.llama_n_seq_max(context) == 1
    assert native.llama_n_ctx(context) == 512
    assert native.llama_n_batch(context) == native.llama_n_ubatch(context) < 64
    native.llama_free(context)
    model.close()


def test_the_fingerprint_is_of_the_build_and_the_context(tiny: Subject) -> None:
    prints = []
    for values in ({}, {"flash_attention": True}, {"context_length": 512}):
        with bare_model(tiny, **values) as model:
            prints.append(model.info.fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_padding_is_no_other_vocabulary(tiny: Subject, tmp_path: Path) -> None:
    with weights_of(tiny.path) as target, weights_of(write_tiny_llama(tmp_path / "d.gguf")) as same:
        assert require_same_vocabulary(target, same) == 512


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: write_tiny_llama(path, shape=TinyShape(vocab_size=480)), "token 477 is"),
        (lambda path: bert_path(), "different kinds"),
    ],
    ids=["other tokens", "another tokenizer"],
)
def test_a_draft_of_another_vocabulary_is_refused_naming_both(
    tiny: Subject, tmp_path: Path, write: Callable[[Path], Path], words: str
) -> None:
    with (
        weights_of(tiny.path) as target,
        weights_of(write(tmp_path / "d.gguf")) as other,
        pytest.raises(SettingRefused) as refused,
    ):
        require_same_vocabulary(target, other)
    assert refused.value.param == "load.draft_model"
    for part in (str(target.path), str(other.path), words):
        assert part in refused.value.message
