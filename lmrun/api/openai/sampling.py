"""The parameters that are prediction settings by their own names. It knows no other parameter.

Each has the name and the bounds of its field in PredictionConfig; left out, it is the instance's.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lmrun.api.openai.fields import LogitBias
from lmrun.settings.base import Settings
from lmrun.settings.prediction import MAX_DRAFT_TOKENS, MAX_STOP_TOKENS

Penalty = Annotated[float, Field(ge=-2, le=2)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=2**31)]


class SamplingParameters(Settings):
    """What chat and completions hand to the engine as it stands."""

    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Share | None = None
    top_k: Count | None = None
    min_p: Share | None = None
    typical_p: Annotated[float, Field(gt=0, le=1)] | None = None
    xtc_probability: Share | None = None
    xtc_threshold: Share | None = None
    repeat_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    dry_multiplier: Annotated[float, Field(ge=0, le=100)] | None = None
    dry_base: Annotated[float, Field(ge=1, le=100)] | None = None
    dry_allowed_length: Count | None = None
    dry_penalty_last_n: Annotated[int, Field(ge=-1, lt=2**31)] | None = None
    dry_sequence_breakers: (
        Annotated[
            tuple[Annotated[str, Field(min_length=1, max_length=40)], ...],
            Field(max_length=16, strict=False),
        ]
        | None
    ) = None
    mirostat: Annotated[int, Field(ge=0, le=2)] | None = None
    mirostat_tau: Annotated[float, Field(ge=0, le=100)] | None = None
    mirostat_eta: Share | None = None
    max_tokens: Annotated[int, Field(ge=-1, lt=2**31)] | None = Field(
        None, description="At least 1; -1 is up to the context's end; 0 with `echo` only."
    )
    stop_token_ids: (
        Annotated[tuple[Count, ...], Field(max_length=MAX_STOP_TOKENS, strict=False)] | None
    ) = None
    logit_bias: LogitBias | None = None
    prompt_lookup: bool | None = None
    draft_model: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        None, description="A declared model that guesses; same vocabulary needed."
    )
    max_draft_tokens: Annotated[int, Field(ge=1, le=MAX_DRAFT_TOKENS)] | None = None
    adapters: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None, description="LoRA adapters of the load config by name, with their scale."
    )
    deterministic: Literal["off", "strict"] | None = None
    context_overflow_policy: Literal["stopAtLimit", "truncateMiddle", "rollingWindow"] | None = None
