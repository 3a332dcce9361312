"""Every number of a prediction config, at its bounds, generates or is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from lmrun.engines.base import LoadedModel, SequenceFinished
from lmrun.errors import RequestError
from lmrun.settings.prediction import PredictionConfig
from tests.support.engines import Subject, drain, spec

# With everything on, so that a bound of one setting is seen by the samplers of the others.
EVERYTHING: dict[str, Any] = {
    "max_tokens": 12,
    "seed": 1,
    "dry_multiplier": 0.5,
    "xtc_probability": 0.5,
    "typical_p": 0.9,
    "presence_penalty": 0.5,
    "logprobs": 2,
    "stop_token_ids": [3],
    "logit_bias": {65: 1.0},
}
BACKGROUNDS: list[dict[str, Any]] = [
    {"max_tokens": 12},
    {"max_tokens": 12, "temperature": 0},
    EVERYTHING,
    {**EVERYTHING, "temperature": 0},
    {**EVERYTHING, "mirostat": 1},
    {**EVERYTHING, "mirostat": 2},
]


def bounds() -> Iterator[tuple[str, Any]]:
    """(field, value) for the ends of every numeric field's range, and what lies just inside."""
    for name, schema in PredictionConfig.model_json_schema()["properties"].items():
        for option in schema.get("anyOf", [schema]):
            if option.get("type") in ("number", "integer"):
                step = 1 if option["type"] == "integer" else 1e-40
                low = option.get("minimum", option.get("exclusiveMinimum", 0) + step)
                high = option.get("maximum", option.get("exclusiveMaximum", 0) - step)
                yield from ((name, value) for value in (low, low + step, high))


BOUNDS = list(bounds())


@pytest.fixture(scope="module")
def model(tiny: Subject) -> Iterator[LoadedModel]:
    with closing(tiny.load(context_length=64)) as loaded:
        yield loaded


def test_the_table_of_bounds_holds_every_sampling_setting() -> None:
    names = {name for name, _ in BOUNDS}
    assert {"temperature", "top_k", "dry_base", "mirostat_tau", "xtc_threshold", "seed"} <= names


@pytest.mark.parametrize("background", range(len(BACKGROUNDS)))
@pytest.mark.parametrize(("name", "value"), BOUNDS)
def test_a_bound_is_honoured(model: LoadedModel, name: str, value: Any, background: int) -> None:
    wanted = spec(1, **{**BACKGROUNDS[background], name: value})
    try:
        model.add(wanted)
    except RequestError as error:
        assert error.param == name
        return
    last = drain(model)[1][-1]
    assert isinstance(last, SequenceFinished), last
