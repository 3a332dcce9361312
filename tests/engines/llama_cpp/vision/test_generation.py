"""Answers to images through the engine: alone, beside others, in strict mode, from the cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmrun.engines.base import Attachments, LoadedModel, SequenceSpec
from lmrun.engines.llama_cpp.engine import engine
from lmrun.errors import ContextOverflow, InvalidParameter, SettingRefused, UnsupportedParameter
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from tests.support.engines import drain, generate, spec, tokens_of
from tests.support.pictures import encode, noise
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_vision import MARKERS, PATCHES, Projector, write_tiny_projector

KINDS: tuple[Projector, ...] = ("mlp", "idefics3", "gemma3")


def load(folder: Path, kind: Projector | None, **settings: Any) -> LoadedModel:
    text = write_tiny_llama(folder / "text.gguf", seed=1, markers=MARKERS)
    config = LoadConfig.model_validate({"eval_batch_size": 16, "context_length": 1024, **settings})
    mmproj = None
    if kind is not None:
        mmproj = str(write_tiny_projector(folder / f"{kind}.gguf", kind=kind))
    return engine.load(
        text,
        config,
        threads=1,
        on_progress=lambda fraction: None,
        attachments=Attachments(mmproj=mmproj),
    )


@pytest.fixture(scope="module", params=KINDS)
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoadedModel]:
    model = load(tmp_path_factory.mktemp("seeing"), request.param)
    yield model
    model.close()


def look(model: LoadedModel, sequence: int, seed: int = 0, **prediction: Any) -> SequenceSpec:
    """A question about a picture, `seed` saying which."""
    pieces: list[str | bytes] = ["Look: ", encode(noise(seed=seed)), " What is it?"]
    prompt, spans = model.prepare_prompt(pieces, add_special=True)
    config = PredictionConfig.model_validate({"temperature": 0, "max_tokens": 12, **prediction})
    return SequenceSpec(sequence, prompt, config, images=spans)


def cached(events: list[Any]) -> int:
    return max(getattr(event, "cached", 0) for event in events)


def test_it_says_that_it_sees(model: LoadedModel) -> None:
    assert (model.info.type, model.info.accepts_images) == ("vlm", True)


def test_an_answer_depends_on_the_picture_and_on_nothing_else(model: LoadedModel) -> None:
    first = generate(model, look(model, 1, seed=11))
    other = generate(model, look(model, 2, seed=12))
    assert first != other
    assert generate(model, look(model, 3, seed=11)) == first


def test_the_same_picture_is_found_in_the_cache_another_is_not(model: LoadedModel) -> None:
    asked = look(model, 1, seed=21)
    model.add(asked)
    drain(model)
    model.add(look(model, 2, seed=21))
    assert cached(drain(model)[2]) == len(asked.prompt) - 1
    model.add(look(model, 3, seed=22))
    assert cached(drain(model)[3]) <= asked.images[0].begin


def test_pictures_and_texts_share_steps_and_disturb_nobody(model: LoadedModel) -> None:
    alone = [generate(model, look(model, 1, seed=31, deterministic="strict"))]
    alone.append(generate(model, spec(2, 40, temperature=0, max_tokens=12, deterministic="strict")))
    for sequence in range(3, 6):
        model.add(look(model, sequence, seed=sequence))
    model.add(look(model, 1, seed=31, deterministic="strict"))
    model.add(spec(2, 40, temperature=0, max_tokens=12, deterministic="strict"))
    events = drain(model)
    assert [tokens_of(events[1]), tokens_of(events[2])] == alone
    assert all(len(tokens_of(events[sequence])) == 12 for sequence in range(3, 6))


def test_every_sampling_setting_works_beside_a_picture(model: LoadedModel) -> None:
    tokens = generate(
        model,
        look(
            model,
            1,
            temperature=0.8,
            seed=3,
            repeat_penalty=1.5,
            presence_penalty=0.5,
            dry_multiplier=1.0,
            prompt_lookup=True,
        ),
    )
    assert len(tokens) == 12


def test_all_cells_come_back(model: LoadedModel) -> None:
    model.add(look(model, 1, max_tokens=500))
    for _ in range(3):
        model.step()
    model.cancel(1)
    assert (model.active, model.waiting, model.usage().kv_tokens_used) == (0, 0, 0)


@pytest.mark.parametrize(
    "prediction",
    [{"context_overflow_policy": "rollingWindow"}, {"context_overflow_policy": "truncateMiddle"}],
)
def test_what_would_cut_a_picture_is_refused(
    model: LoadedModel, prediction: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedParameter):
        model.add(look(model, 1, **prediction))


def test_a_prompt_whose_pictures_do_not_fit_is_refused(tmp_path: Path) -> None:
    model = load(tmp_path, "mlp", context_length=PATCHES)
    with pytest.raises(ContextOverflow):
        model.add(look(model, 1))
    model.close()


def test_the_numbers_of_a_picture_alone_are_no_tokens(model: LoadedModel) -> None:
    asked = look(model, 1)
    with pytest.raises(InvalidParameter):
        model.add(SequenceSpec(1, asked.prompt, asked.prediction))


def test_without_a_projector_images_are_refused_with_what_would_be_right(tmp_path: Path) -> None:
    model = load(tmp_path, None)
    with pytest.raises(UnsupportedParameter) as refused:
        look(model, 1)
    assert (refused.value.param, "load.mmproj" in str(refused.value)) == ("images[0]", True)
    assert (model.info.type, model.info.accepts_images) == ("llm", False)
    model.close()


def test_a_wrong_projector_ends_the_load_with_its_setting(tmp_path: Path) -> None:
    text = write_tiny_llama(tmp_path / "text.gguf")
    wide = write_tiny_projector(tmp_path / "wide.gguf", embedding=96)
    with pytest.raises(SettingRefused) as refused:
        engine.load(
            text,
            LoadConfig(),
            threads=1,
            on_progress=lambda fraction: None,
            attachments=Attachments(mmproj=str(wide)),
        )
    assert refused.value.param == "load.mmproj"
