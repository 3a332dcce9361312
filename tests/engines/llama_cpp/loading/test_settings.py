"""Every load setting is honoured or refused by name; nothing is ignored."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llama_cpp import llama_cpp as native

from lmrun.engines.base import Attachments
from lmrun.engines.llama_cpp.loading import settings
from lmrun.engines.llama_cpp.loading.native import NativeModel, load_native
from lmrun.engines.llama_cpp.loading.settings import Build
from lmrun.engines.llama_cpp.loading.weights import read_build
from lmrun.engines.llama_cpp.model import GenerationModel
from lmrun.errors import SettingRefused
from lmrun.settings.load import CacheType, LoadConfig
from tests.engines.llama_cpp.bare import bare_model, read_logits
from tests.support.engines import Subject, drain, generate, spec, tokens_of
from tests.support.tiny_llama import TinyShape, write_tiny_llama
from tests.support.tiny_variants import write_tiny_moe

ON_GPU = Build(gpu_offload=True, mmap=True, mlock=True)
ON_CPU = Build(gpu_offload=False, mmap=True, mlock=True)
NEITHER = Build(gpu_offload=False, mmap=False, mlock=False)


def config(**values: Any) -> LoadConfig:
    return LoadConfig.model_validate(values)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Heads of 32 values: the smallest that quantised caches take."""
    path = tmp_path_factory.mktemp("wide") / "wide.gguf"
    return Subject(write_tiny_llama(path, shape=TinyShape(embedding=128, layers=2)))


def load(subject: Subject, **values: Any) -> NativeModel:
    return load_native(subject.path, config(**values), 1, lambda fraction: None)


@pytest.mark.parametrize("key", ["k_cache_type", "v_cache_type"])
@pytest.mark.parametrize("kind", sorted(settings.CACHE_TYPES))
def test_every_cache_type_generates(wide: Subject, key: str, kind: CacheType) -> None:
    values: dict[str, Any] = {key: kind}
    with closing(wide.load(**values)) as model:
        assert len(generate(model, spec(1, prompt_length=30, max_tokens=5))) == 5


def test_a_smaller_cache_type_is_a_smaller_cache(wide: Subject) -> None:
    sizes = []
    for kind in ("f32", "f16", "q4_0"):
        with closing(load(wide, k_cache_type=kind, v_cache_type=kind)) as model:
            sizes.append(_state_bytes(model))
    assert sizes[0] > 1.9 * sizes[1] > 3 * sizes[2]


def _state_bytes(model: NativeModel) -> int:
    """Bytes that 64 tokens hold in the KV cache."""
    tokens = (ctypes.c_int32 * 64)(*range(64))
    assert native.llama_decode(model.context, native.llama_batch_get_one(tokens, 64)) == 0
    size: int = native.llama_state_seq_get_size(model.context, 0)
    return size


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"gpu": {"ratio": "max"}}, "load.gpu"),
        ({"gpu": {"ratio": 0.5}}, "load.gpu"),
        ({"gpu": {"ratio": 1.0}}, "load.gpu"),
        ({"gpu": {}}, "load.gpu"),
        ({"offload_kv_cache_to_gpu": True}, "load.offload_kv_cache_to_gpu"),
        ({"kv_tokens": 2047}, "load.kv_tokens"),
        ({"num_experts": 2}, "load.num_experts"),
        ({"context_length": 2049}, "load.context_length"),
        ({"flash_attention": False, "v_cache_type": "q8_0"}, "load.v_cache_type"),
        ({"flash_attention": False, "v_cache_type": "q4_0"}, "load.v_cache_type"),
        ({"k_cache_type": "q8_0"}, "load.k_cache_type"),
        ({"v_cache_type": "q5_1"}, "load.v_cache_type"),
    ],
    ids=str,
)
def test_what_this_build_or_model_cannot_do_is_refused_by_name(
    tiny: Subject, values: dict[str, Any], param: str
) -> None:
    if "gpu" in param and read_build().gpu_offload:
        pytest.skip("this build of llama.cpp has a GPU, so the setting is honoured")
    with pytest.raises(SettingRefused) as refused:
        tiny.load(**values)
    assert refused.value.param == param
    assert param in refused.value.message and refused.value.hint


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"gpu": {"ratio": "off"}},
        {"gpu": {"ratio": 0.0}},
        {"flash_attention": False},
        {"eval_batch_size": 1},
        {"eval_batch_size": 65_536},
        {"threads": 1},
        {"try_mmap": False},
        {"max_parallel_predictions": 255, "context_length": 8},
        {"context_length": 4096, "rope_frequency_scale": 0.5},
        {"context_length": 8},
    ],
    ids=str,
)
def test_what_can_be_done_is_done(tiny: Subject, values: dict[str, Any]) -> None:
    with closing(tiny.load(**values)) as model:
        wanted = values.get("context_length", 2048)
        assert model.info.context_length == wanted
        assert len(generate(model, spec(1, prompt_length=5, max_tokens=3))) == 3


def test_flash_attention_and_rope_reach_the_context(tiny: Subject) -> None:
    prompt = spec(1, prompt_length=40).prompt
    seen = set()
    for values in (
        {"flash_attention": True},
        {"flash_attention": False},
        {"rope_frequency_base": 500.0},
        {"rope_frequency_scale": 0.25},
    ):
        with bare_model(tiny, **values) as model:
            (logits,) = read_logits(model, prompt, [])
            seen.add(logits.tobytes())
    assert len(seen) == 4


def test_the_context_has_room_for_every_sequence(tiny: Subject) -> None:
    with closing(load(tiny, context_length=512, max_parallel_predictions=3)) as model:
        assert native.llama_n_ctx_seq(model.context) >= 512
        assert native.llama_n_seq_max(model.context) == 3
    settings: dict[str, Any] = {"context_length": 512, "max_parallel_predictions": 3}
    with closing(load(tiny, unified_kv_cache=True, **settings)) as model:
        assert native.llama_n_ctx(model.context) >= 3 * 512
        assert native.llama_n_seq_max(model.context) == 4
        assert native.llama_n_batch(model.context) == native.llama_n_ubatch(model.context)


def test_threads_are_bounded_by_the_setting(tiny: Subject) -> None:
    native_model = load(tiny, threads=2)
    with closing(GenerationModel(native_model, config(threads=2), 1)) as model:
        model.set_threads(8)
        assert native.llama_n_threads(native_model.context) == 2
        model.set_threads(1)
        assert native.llama_n_threads(native_model.context) == 1
        assert native.llama_n_threads_batch(native_model.context) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and drops a Linux capability")
def test_weights_are_locked_or_the_load_is_refused(tiny: Subject) -> None:
    program = """
import ctypes, resource, sys
from pathlib import Path
from lmrun.engines.llama_cpp.engine import engine
from lmrun.settings.load import LoadConfig

def load():
    config = LoadConfig(keep_model_in_memory=True)
    return engine.load(Path(sys.argv[1]), config, threads=1, on_progress=lambda fraction: None)

class Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]

class Data(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32)]
    _fields_ += [("inheritable", ctypes.c_uint32)]

none = (Data * 2)()
assert ctypes.CDLL(None).capset(ctypes.byref(Header(0x20080522, 0)), none) == 0
resource.setrlimit(resource.RLIMIT_MEMLOCK, (4096, resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]))
try:
    load()
except Exception as error:
    print(type(error).__name__, error.param)
"""
    finished = subprocess.run(
        [sys.executable, "-c", program, str(tiny.path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[4],
    )
    assert finished.stdout.strip() == "SettingRefused load.keep_model_in_memory", finished.stderr


@pytest.mark.parametrize(
    ("ratio", "build", "expected"),
    [
        (None, ON_GPU, -1),
        (None, ON_CPU, 0),
        ("max", ON_GPU, -1),
        ("off", ON_GPU, 0),
        ("off", ON_CPU, 0),
        (0.0, ON_CPU, 0),
        (0.5, ON_GPU, 16),
        (1.0, ON_GPU, 31),
    ],
)
def test_a_share_of_the_gpu_is_a_number_of_layers(
    ratio: str | float | None, build: Build, expected: int
) -> None:
    chosen = config() if ratio is None else config(gpu={"ratio": ratio})
    assert settings.choose_gpu_layers(chosen, build, layers=30) == expected


@pytest.mark.parametrize(
    ("values", "build", "expected"),
    [
        ({}, ON_CPU, native.LLAMA_LOAD_MODE_MMAP),
        ({}, NEITHER, native.LLAMA_LOAD_MODE_NONE),
        ({"try_mmap": False}, ON_CPU, native.LLAMA_LOAD_MODE_NONE),
        ({"keep_model_in_memory": True}, ON_CPU, native.LLAMA_LOAD_MODE_MMAP_MLOCK),
        (
            {"keep_model_in_memory": True, "try_mmap": False},
            ON_CPU,
            native.LLAMA_LOAD_MODE_MLOCK,
        ),
    ],
)
def test_weights_are_mapped_read_or_locked(
    values: dict[str, Any], build: Build, expected: int
) -> None:
    assert settings.choose_load_mode(config(**values), build) == expected


def test_locking_where_it_cannot_be_done_is_refused() -> None:
    with pytest.raises(SettingRefused) as refused:
        settings.choose_load_mode(config(keep_model_in_memory=True), NEITHER)
    assert refused.value.param == "load.keep_model_in_memory"


def test_a_batch_over_unshared_caches_gives_each_sequence_its_own_text(tiny: Subject) -> None:
    greedy: dict[str, Any] = {"temperature": 0, "repeat_penalty": 1.0, "max_tokens": 12}
    chosen: dict[str, Any] = {
        "flash_attention": False,
        "max_parallel_predictions": 3,
        "context_length": 256,
    }
    with closing(tiny.load(unified_kv_cache=False, **chosen)) as model:
        alone = {n: generate(model, spec(n, prompt_length=9 * n, **greedy)) for n in (1, 2, 3)}
        for sequence in alone:
            model.add(spec(sequence, prompt_length=9 * sequence, **greedy))
        together = {n: tokens_of(events) for n, events in drain(model).items()}
    assert [together[n][0] for n in alone] == [answer[0] for answer in alone.values()]
    assert [len(together[n]) for n in alone] == [12, 12, 12]


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A mixture of four experts, of which two work on a token."""
    return Subject(write_tiny_moe(tmp_path_factory.mktemp("moe") / "moe.gguf"))


def test_the_number_of_experts_reaches_the_model(experts: Subject) -> None:
    seen = []
    for values in ({}, {"num_experts": 2}, {"num_experts": 1}, {"num_experts": 4}):
        with bare_model(experts, **values) as model:
            (logits,) = read_logits(model, spec(1, prompt_length=20).prompt, [])
            seen.append(logits.tobytes())
    assert seen[0] == seen[1] and len(set(seen)) == 3


@pytest.mark.parametrize(("subject", "wanted"), [("tiny", 1), ("experts", 5), ("experts", 512)])
def test_experts_that_are_not_there_are_refused(
    subject: str, wanted: int, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(SettingRefused) as refused:
        request.getfixturevalue(subject).load(num_experts=wanted)
    assert refused.value.param == "load.num_experts"


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        ({"ratio": "max"}, None),
        ({"split_strategy": "evenly"}, [1, 1, 1]),
        ({"split": [3, 1, 2]}, [3, 1, 2]),
        ({"disabled_gpus": [1]}, [40, 0, 40]),
        ({"disabled_gpus": [0], "split_strategy": "evenly"}, [0, 1, 1]),
        ({"main_gpu": 2, "split_strategy": "favorMainGpu"}, [0.25, 0.25, 0.5]),
        ({"split_strategy": "favorMainGpu", "disabled_gpus": [2]}, [0.5, 0.5, 0]),
    ],
    ids=str,
)
def test_layers_are_shared_out_as_declared(
    gpu: dict[str, Any], expected: list[float] | None
) -> None:
    build = replace(ON_GPU, gpus=(40, 40, 40))
    assert settings.choose_split(config(gpu=gpu), build, model_bytes=64) == expected


@pytest.mark.parametrize(
    ("gpu", "param"),
    [
        ({"main_gpu": 2}, "load.gpu.main_gpu"),
        ({"main_gpu": 0, "disabled_gpus": [0]}, "load.gpu.main_gpu"),
        ({"split": [1, 1, 1]}, "load.gpu.split"),
        ({"disabled_gpus": [0, 1]}, "load.gpu.disabled_gpus"),
        ({"disabled_gpus": [5]}, "load.gpu.disabled_gpus"),
    ],
    ids=str,
)
def test_gpus_that_are_not_there_are_refused(gpu: dict[str, Any], param: str) -> None:
    build = replace(ON_GPU, gpus=(40, 40))
    with pytest.raises(SettingRefused) as refused:
        settings.choose_split(config(gpu=gpu), build, model_bytes=64)
    assert refused.value.param == param


def test_a_cache_on_the_gpu_is_refused_without_one() -> None:
    settings.require_offload(config(offload_kv_cache_to_gpu=False), ON_CPU)
    settings.require_offload(config(offload_kv_cache_to_gpu=True), ON_GPU)
    with pytest.raises(SettingRefused) as refused:
        settings.require_offload(config(offload_kv_cache_to_gpu=True), ON_CPU)
    assert refused.value.param == "load.offload_kv_cache_to_gpu"


@pytest.mark.parametrize("lacking", ["kv_tokens", "mmproj", "draft_model"])
def test_an_embedding_model_refuses_what_only_a_text_model_can_have(lacking: str) -> None:
    given = {"kv_tokens": 4096} if lacking == "kv_tokens" else {}
    files: dict[str, Any] = {} if lacking == "kv_tokens" else {lacking: "a.gguf"}
    with pytest.raises(SettingRefused) as refused:
        settings.require_generation(config(**given), Attachments(**files))
    assert refused.value.param == f"load.{lacking}"
