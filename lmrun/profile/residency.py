"""The profile's words for what is in memory and when: JIT, TTL, the limit. It knows no model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lmrun.settings.base import Settings
from lmrun.settings.quantities import Duration, Limit

Ttl = Annotated[Duration, Field(gt=0)]
Priority = Literal["high", "normal", "low"]
AutoEvict = Literal["memory", "one", "off"]


class JitConfig(Settings):
    """Just-in-time loading: a request for a model that is not loaded loads it."""

    enabled: bool = Field(
        True,
        description="Requests load declared models, and the list of models has all of them; "
        "`false`: clients load them by hand, and the list has what is loaded.",
    )
    ttl: Ttl = Field(
        3600.0,
        description="How long a model that a request loaded may be idle before it is unloaded.",
        json_schema_extra={"default": "60m"},
    )
    auto_evict: AutoEvict = Field(
        "memory",
        description="Which idle models that requests loaded make room for another: `memory`: as "
        "few as it takes, `one`: all of them, so that there is one at a time, `off`: none.",
    )


class MemoryConfig(Settings):
    """What all models together may take."""

    limit: Limit = Field(
        0.8,
        description="A share of this machine's memory, or of the container's where that has less; "
        "or a size.",
        json_schema_extra={"default": "80%"},
    )
