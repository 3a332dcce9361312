"""What functions, commands and requests over HTTP have in common: how a profile's declaration
becomes what a tool says of itself. It runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmrun.profile.tooling.effective import effects_of, is_untrusted
from lmrun.profile.tooling.tools import ToolConfig
from lmrun.tools.tool import ToolSpec


def make_spec(
    key: str, config: ToolConfig, description: str | None, parameters: Mapping[str, Any]
) -> ToolSpec:
    """`key`: what the profile calls it; models and clients do, too."""
    return ToolSpec(
        path=key,
        name=key,
        description=description,
        parameters=parameters,
        policy=config.policy,
        effects=effects_of(config),
        is_untrusted=is_untrusted(config),
        is_idempotent=config.idempotent,
        is_exported=config.export,
        timeout_s=config.timeout,
        declared=config,
    )


def make_declared_spec(key: str, config: ToolConfig) -> ToolSpec:
    """Of a tool whose parameters stand in the profile alone."""
    parameters = {
        "type": "object",
        "properties": config.parameters,
        "required": [name for name in config.parameters if name not in config.optional],
        "additionalProperties": False,
    }
    return make_spec(key, config, config.description, parameters)
