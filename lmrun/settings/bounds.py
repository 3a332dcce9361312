"""The ranges of prediction settings, for everything that declares one. It knows no setting."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

MAX_DRAFT_TOKENS = 32

Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Strength = Annotated[float, Field(ge=0, le=100)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
RepeatPenalty = Annotated[float, Field(ge=0.01, le=100)]
Growth = Annotated[float, Field(ge=1, le=100)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
CountOrAll = Annotated[int, Field(ge=-1, lt=2**31)]
"""-1 is as many as there are."""
MirostatVersion = Annotated[int, Field(ge=0, le=2)]
SequenceBreakers = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=40)], ...],
    Field(max_length=16, strict=False),
]
ModelName = Annotated[str, Field(min_length=1, max_length=512)]
DraftTokens = Annotated[int, Field(ge=1, le=MAX_DRAFT_TOKENS)]
AdapterScales = dict[str, Annotated[float, Field(ge=-100, le=100)]]
Determinism = Literal["off", "strict"]
OverflowPolicy = Literal["stopAtLimit", "truncateMiddle", "rollingWindow"]
