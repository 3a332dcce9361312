"""The parameters that are prediction settings by their own names. It knows no other parameter.

Each has the name and the bounds of its field in PredictionConfig; left out, it is the instance's.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lmrun.api.openai.fields import LogitBias
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
from lmrun.settings.prediction import MAX_STOP_TOKENS


class SamplingParameters(Settings):
    """What chat and completions hand to the engine as it stands."""

    temperature: Strength | None = None
    top_p: Share | None = None
    top_k: Count | None = None
    min_p: Share | None = None
    typical_p: PositiveShare | None = None
    xtc_probability: Share | None = None
    xtc_threshold: Share | None = None
    repeat_penalty: RepeatPenalty | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    dry_multiplier: Strength | None = None
    dry_base: Growth | None = None
    dry_allowed_length: Count | None = None
    dry_penalty_last_n: CountOrAll | None = None
    dry_sequence_breakers: SequenceBreakers | None = None
    mirostat: MirostatVersion | None = None
    mirostat_tau: Strength | None = None
    mirostat_eta: Share | None = None
    max_tokens: CountOrAll | None = Field(
        None, description="At least 1; -1 is up to the context's end; 0 with `echo` only."
    )
    stop_token_ids: (
        Annotated[tuple[Count, ...], Field(max_length=MAX_STOP_TOKENS, strict=False)] | None
    ) = None
    logit_bias: LogitBias | None = None
    prompt_lookup: bool | None = None
    draft_model: ModelName | None = Field(
        None, description="A declared model that guesses; same vocabulary needed."
    )
    max_draft_tokens: DraftTokens | None = None
    adapters: AdapterScales | None = Field(
        None, description="LoRA adapters of the load config by name, with their scale."
    )
    deterministic: Determinism | None = None
    context_overflow_policy: OverflowPolicy | None = None
