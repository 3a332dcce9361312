"""Prediction config: what one generation uses. It knows neither dialects nor engines."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from lmrun.settings.base import Settings

MAX_STOP_STRINGS = 16
MAX_STOP_STRING_LENGTH = 1024
MAX_LOGIT_BIAS = 1024

StopString = Annotated[str, Field(min_length=1, max_length=MAX_STOP_STRING_LENGTH)]


def _parse_token_id(value: Any) -> Any:
    # The keys of a JSON or YAML mapping are text.
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"0|[1-9][0-9]{0,9}", value):
        raise ValueError("must be a token id: a whole number of at least 0")
    return int(value)


TokenId = Annotated[int, BeforeValidator(_parse_token_id), Field(ge=0, lt=2**31)]


class PredictionConfig(Settings):
    """LM Studio's prediction settings in snake_case, with its defaults.

    `model_fields_set` tells which ones somebody chose; `overlay` merges by it. A changed value
    is an Update: no instance is touched.
    """

    temperature: Annotated[float, Field(ge=0, le=100)] = Field(
        0.8, description="0 is greedy: always the most likely token."
    )
    top_k: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        40, description="Keep the k most likely tokens; 0 keeps all."
    )
    top_p: Annotated[float, Field(ge=0, le=1)] = Field(
        0.95, description="Keep the most likely tokens up to this total probability; 1 keeps all."
    )
    min_p: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05, description="Drop tokens below this share of the best token's probability."
    )
    repeat_penalty: Annotated[float, Field(gt=0, le=100)] = Field(
        1.1, description="Divide logits of the last 64 tokens, prompt included; 1 is off."
    )
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = Field(
        0.0, description="Subtracted once per token already generated."
    )
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = Field(
        0.0, description="Subtracted for each time a token was already generated."
    )
    max_tokens: Annotated[int, Field(ge=-1, lt=2**31)] = Field(
        -1, description="Most tokens to generate; -1 is up to the context's end."
    )
    stop_strings: Annotated[tuple[StopString, ...], Field(max_length=MAX_STOP_STRINGS)] = Field(
        (), description="Generation ends before the first of these.", strict=False
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = Field(
        None, description="Same seed, same request, same text. Default: a new one each time."
    )
    logit_bias: Annotated[
        dict[TokenId, Annotated[float, Field(ge=-100, le=100)]],
        Field(max_length=MAX_LOGIT_BIAS),
    ] = Field(default_factory=dict, description="Added to the logits of single tokens, by id.")
    context_overflow_policy: Literal["stopAtLimit"] = Field(
        "stopAtLimit", description="A full context ends the generation."
    )

    def overlay(self, other: PredictionConfig) -> PredictionConfig:
        """`other`'s explicitly chosen fields over mine; what neither chose stays unchosen."""
        chosen = {name: getattr(self, name) for name in self.model_fields_set}
        chosen |= {name: getattr(other, name) for name in other.model_fields_set}
        return PredictionConfig.model_construct(_fields_set=set(chosen), **chosen)
