"""What functions, commands and requests over HTTP have in common: how a profile's declaration
becomes what a tool says of itself. It runs nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lmrun.errors import ToolInvalid
from lmrun.profile.tooling.effective import effects_of, is_untrusted
from lmrun.profile.tooling.tools import ToolConfig
from lmrun.tools.schemas.validation import find_unchecked
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


def check_parameters(config: ToolConfig, used: Collection[str]) -> None:
    """Raises ToolInvalid unless the parameters are just the placeholders `used`, and their schemas
    can be checked."""
    for name in sorted(set(used) - config.parameters.keys()):
        raise ToolInvalid(
            f"`{{{name}}}` is no parameter of it.", hint="Declare it under `parameters`."
        )
    for name in sorted(config.parameters.keys() - set(used)):
        raise ToolInvalid(
            f"The parameter {name!r} goes nowhere.", hint=f"Use `{{{name}}}`, or leave it out."
        )
    for name, schema in config.parameters.items():
        unchecked = find_unchecked(schema)
        if unchecked is not None:
            raise ToolInvalid(
                f"`parameters.{name}`: {unchecked} cannot be checked.",
                hint="Say it in other words.",
            )
