"""What all settings share: strict, frozen, closed to unknown keys. It knows no single setting."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A declared value. Unknown keys are errors; `true` is no number and `"1"` no integer."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
