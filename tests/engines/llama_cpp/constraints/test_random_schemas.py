"""Random schemas under the tiny random model: what ends is valid, and nearly everything ends.

`make fuzz-schemas` runs the same with 600 schemas.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import closing
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema
from jsonschema import Draft202012Validator

from lmrun.engines.base import LoadedModel, SequenceFinished, SequenceSpec, TokenProduced
from lmrun.errors import InvalidParameter
from lmrun.settings.prediction import PredictionConfig
from lmrun.settings.structured import JsonOutput
from tests.engines.llama_cpp.constraints.metaschema import make_metaschemas
from tests.support.engines import Subject, drain

SCHEMAS = int(os.environ.get("LMRUN_FUZZ_SCHEMAS", "20"))
LEAST_ENDED = 0.95
MOST_REFUSED = 0.25
"""Schemas that nothing satisfies, or whose `oneOf` may overlap."""
RUN = settings(
    max_examples=SCHEMAS,
    phases=[Phase.generate],
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    """An object with one property, whose schema is up to four definitions deep."""
    levels = [draw(st.one_of(*map(from_schema, options))) for options in make_metaschemas()]
    return {
        "type": "object",
        "properties": {"v": {"$ref": "#/$defs/0"}},
        "required": ["v"],
        "additionalProperties": False,
        "$defs": {str(level): schema for level, schema in enumerate(levels)},
    }


def answer(model: LoadedModel, schema: dict[str, Any], seed: int) -> str | None:
    """What the model says; None when it did not come to an end."""
    structured = JsonOutput(type="json", json_schema=schema)
    prediction = PredictionConfig(
        temperature=1.5, seed=seed, max_tokens=1500, structured=structured
    )
    constraint = model.make_constraint(structured)
    model.add(SequenceSpec(seed, (1, 2, 3), prediction, constraint=constraint))
    events = drain(model)[seed]
    last = events[-1]
    assert isinstance(last, SequenceFinished), last
    text = b"".join(event.piece for event in events if isinstance(event, TokenProduced))
    return text.decode() if last.reason == "eosFound" else None


def test_what_ends_is_valid_and_nearly_everything_ends(tiny: Subject) -> None:
    outcomes: Counter[str] = Counter()

    def check(schema: dict[str, Any]) -> str:
        try:
            text = answer(model, schema, sum(outcomes.values()))
        except InvalidParameter:
            return "refused"
        if text is None:
            return "open"
        Draft202012Validator(schema).validate(json.loads(text))
        return "ended"

    @RUN
    @given(schemas())
    def check_all(schema: dict[str, Any]) -> None:
        outcomes[check(schema)] += 1

    with closing(tiny.load(context_length=2048)) as model:
        check_all()
    print(dict(outcomes))
    answered = outcomes["ended"] + outcomes["open"]
    assert outcomes["ended"] >= LEAST_ENDED * answered
    assert outcomes["refused"] <= MOST_REFUSED * outcomes.total()
