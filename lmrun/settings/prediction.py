"""Prediction config: what one generation uses. It knows neither dialects nor engines."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from lmrun.settings.base import Settings
from lmrun.settings.bounds import (
    AdapterScales,
    Count,
    CountOrAll,
    Determinism,
    DraftTokens,
    Growth,
    MirostatVersion,
    ModelName,
    OverflowPolicy,
    Penalty,
    PositiveShare,
    RepeatPenalty,
    SequenceBreakers,
    Share,
    Strength,
)
from lmrun.settings.structured import StructuredOutput

MAX_STOP_STRINGS = 16
MAX_STOP_STRING_LENGTH = 1024
MAX_LOGIT_BIAS = 1024
MAX_STOP_TOKENS = 64
MAX_TOP_LOGPROBS = 20

StopString = Annotated[str, Field(min_length=1, max_length=MAX_STOP_STRING_LENGTH)]


def _parse_token_id(value: Any) -> Any:
    # The keys of a JSON or YAML mapping are text.
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"0|[1-9][0-9]{0,9}", value):
        raise ValueError("must be a token id: a whole number of at least 0")
    return int(value)


TokenId = Annotated[int, BeforeValidator(_parse_token_id), Field(ge=0, lt=2**31)]


class ReasoningParsing(Settings):
    """How reasoning is told from the message. LM Studio's `reasoningParsing`."""

    enabled: bool = Field(
        True, description="Off: reasoning stays in the message, as the model wrote it."
    )
    start_string: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None, description="What opens reasoning. Default: what the chat template speaks of."
    )
    end_string: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None, description="What closes reasoning; goes with `start_string`."
    )

    @model_validator(mode="after")
    def _strings_go_together(self) -> ReasoningParsing:
        if (self.start_string is None) != (self.end_string is None):
            raise PydanticCustomError(
                "plain", "`start_string` and `end_string` are given both or not at all"
            )
        return self


class PredictionConfig(Settings):
    """LM Studio's prediction settings in snake_case, with its defaults.

    `model_fields_set` tells which ones somebody chose; `overlay` merges by it. A changed value
    is an Update: no instance is touched.
    """

    temperature: Strength = Field(
        0.8, description="0 is greedy: the most likely token of those that are left."
    )
    top_k: Count = Field(40, description="Keep the k most likely tokens; 0 keeps all.")
    top_p: Share = Field(
        0.95, description="Keep the most likely tokens up to this total probability; 1 keeps all."
    )
    min_p: Share = Field(
        0.05, description="Drop tokens below this share of the best token's probability."
    )
    repeat_penalty: RepeatPenalty = Field(
        1.1, description="Divide logits of the last 64 tokens, prompt included; 1 is off."
    )
    presence_penalty: Penalty = Field(
        0.0, description="Subtracted once per token already generated."
    )
    frequency_penalty: Penalty = Field(
        0.0, description="Subtracted for each time a token was already generated."
    )
    max_tokens: CountOrAll = Field(
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
    typical_p: PositiveShare = Field(
        1.0,
        description="Locally typical sampling: keep tokens near the expected surprise; 1 is off.",
    )
    xtc_probability: Share = Field(
        0.0, description="Chance, per token, to exclude the top choices (XTC); 0 is off."
    )
    xtc_threshold: Share = Field(
        0.1, description="XTC excludes tokens above this probability, except the least likely one."
    )
    dry_multiplier: Strength = Field(
        0.0, description="Strength of the DRY penalty on repeated sequences; 0 is off."
    )
    dry_base: Growth = Field(1.75, description="DRY grows by this factor with each repeated token.")
    dry_allowed_length: Count = Field(
        2, description="Repeated sequences up to this length are not penalised by DRY."
    )
    dry_penalty_last_n: CountOrAll = Field(
        -1, description="Tokens that DRY looks back on; -1 is the whole context."
    )
    dry_sequence_breakers: SequenceBreakers = Field(
        ("\n", ":", '"', "*"),
        description="Texts at which DRY's sequences end, each at most 40 bytes.",
    )
    mirostat: MirostatVersion = Field(
        0,
        description="Mirostat 1 or 2 instead of top_k, top_p, min_p, typical_p and XTC; 0 is off.",
    )
    mirostat_tau: Strength = Field(
        5.0, description="Mirostat's target surprise, in bits per token."
    )
    mirostat_eta: Share = Field(0.1, description="Mirostat's learning rate.")
    stop_token_ids: Annotated[
        tuple[TokenId, ...], Field(max_length=MAX_STOP_TOKENS, strict=False)
    ] = Field((), description="Generation ends before any of these tokens.")
    logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = Field(
        None,
        description="Report each token's log probability, with this many of the likeliest tokens.",
    )
    echo: bool = Field(False, description="Give the prompt back before the answer.")
    structured: StructuredOutput | None = Field(
        None, description="What the answer must look like: a JSON schema, a regex, a grammar."
    )
    reasoning_parsing: ReasoningParsing = Field(
        ReasoningParsing(enabled=True, start_string=None, end_string=None),
        description="Whether and how reasoning is told from the message.",
    )
    prompt_lookup: bool = Field(
        False, description="Speculate with n-grams of the context: faster where text is repeated."
    )
    draft_model: ModelName | None = Field(
        None, description="Speculate with this declared model's guesses; same vocabulary needed."
    )
    max_draft_tokens: DraftTokens = Field(
        16, description="Most tokens that are guessed at a time; the engine adapts below it."
    )
    adapters: AdapterScales | None = Field(
        None,
        description="LoRA adapters of the load config by name, with their scale; `{}` uses none. "
        "Default: those of the load config.",
    )
    deterministic: Determinism = Field(
        "off",
        description="`strict`: same fingerprint, seed and request give the same token ids, "
        "whatever else runs.",
    )
    context_overflow_policy: OverflowPolicy = Field(
        "stopAtLimit",
        description="What happens when the context is full: the generation ends, the middle is "
        "dropped (system prompt and first user message stay), or the oldest tokens are.",
    )

    def overlay(self, other: PredictionConfig) -> PredictionConfig:
        """`other`'s explicitly chosen fields over mine; what neither chose stays unchosen."""
        # Not made anew: for each request, all defaults would be.
        return self.model_copy(
            update={name: getattr(other, name) for name in other.model_fields_set}
        )
