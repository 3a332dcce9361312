"""A fingerprint changes with what strict answers depend on, and with nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lmrun.api.openai.fingerprint import make_fingerprint
from lmrun.catalog.catalog import LocatedModel
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.load import LoadConfig
from tests.support.stand_in_pool import INFO

SPEC = InstanceSpec("a", "a", "scripted", Path("/m"), 1, 2, LoadConfig())
PRINT = make_fingerprint(SPEC, INFO)


def load(**values: Any) -> InstanceSpec:
    return replace(SPEC, load=LoadConfig.model_validate(values))


@pytest.mark.parametrize(
    "spec",
    [
        replace(SPEC, size=2),
        replace(SPEC, mtime_ns=3),
        replace(SPEC, mmproj=LocatedModel(Path("/p"), 1, 1)),
        load(context_length=512),
        load(rope_frequency_base=1e6),
        load(num_experts=2),
        load(gpu={"ratio": "off"}),
        load(adapters=[{"source": "file:a.gguf"}]),
        load(adapters=[{"source": "file:a.gguf", "scale": 0.5}]),
    ],
    ids=lambda spec: str(spec.load.model_dump(exclude_unset=True)),
)
def test_what_decides_about_strict_text_changes_it(spec: InstanceSpec) -> None:
    assert make_fingerprint(spec, INFO) != PRINT


@pytest.mark.parametrize(
    "spec",
    [
        replace(SPEC, path=Path("/elsewhere")),
        replace(SPEC, identifier="b"),
        load(flash_attention=False),
        load(threads=1),
        load(k_cache_type="q8_0"),
        load(max_parallel_predictions=8, eval_batch_size=64),
        load(prefix_cache={"ram": "0B"}),
        load(seed=7),
    ],
    ids=lambda spec: str(spec.load.model_dump(exclude_unset=True)),
)
def test_what_strict_mode_fixes_does_not(spec: InstanceSpec) -> None:
    assert make_fingerprint(spec, INFO) == PRINT


@pytest.mark.parametrize("changed", [{"fingerprint": "x"}, {"chat_template": "x"}], ids=str)
def test_the_build_and_the_template_change_it(changed: dict[str, str]) -> None:
    assert make_fingerprint(SPEC, msgspec.structs.replace(INFO, **changed)) != PRINT


def test_there_is_none_before_the_model_is_loaded() -> None:
    assert make_fingerprint(SPEC, None) is None
