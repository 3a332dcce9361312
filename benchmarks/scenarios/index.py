"""All scenarios, in the order in which they run."""

from __future__ import annotations

from benchmarks.scenarios import (
    acting,
    crowd,
    engine,
    house,
    json_schema,
    long_prompt,
    prefix,
    prompt_lookup,
    reconcile,
    streams,
)
from benchmarks.scenarios.base import Scenario

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        streams.SINGLE_STREAM,
        streams.STREAMS_8,
        streams.STREAMS_16,
        streams.STREAMS_COMING,
        prefix.SHARED_PREFIX,
        prefix.SAME_PREFIX,
        prefix.RESTORED_PREFIX,
        json_schema.JSON_SCHEMA_1,
        json_schema.JSON_SCHEMA_8,
        prompt_lookup.PROMPT_LOOKUP,
        prompt_lookup.LOOKUP_LIMIT,
        long_prompt.LONG_PROMPT,
        long_prompt.LONG_PROMPT_ENGINE,
        engine.OVERHEAD,
        engine.ENGINE_ALONE,
        house.TWO_MODELS,
        house.FIRST_TOKEN,
        crowd.CROWD,
        reconcile.RECONCILE,
        acting.ACT_OVERHEAD,
    )
}
