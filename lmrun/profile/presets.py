"""Presets: named defaults for requests, and what a name of one means. It knows no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from lmrun.profile.tooling.references import McpPromptPath, is_prompt
from lmrun.settings.base import Settings
from lmrun.settings.prediction import PredictionConfig

PRESET_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

PresetName = Annotated[str, StringConstraints(pattern=PRESET_PATTERN)]


class Preset(Settings):
    """A named set of defaults for requests."""

    system_prompt: str | None = Field(
        None, description="Put before conversations that bring no system message."
    )
    mcp_prompt: McpPromptPath | None = Field(
        None,
        description="A prompt of an MCP server, `mcp/<server>/<prompt>`: its messages come before "
        "the conversation. For agents and runs alone, which ask the server for it.",
    )
    arguments: dict[Annotated[str, Field(min_length=1, max_length=128)], str] = Field(
        default_factory=dict, description="What is filled into the blanks of `mcp_prompt`."
    )
    prediction: PredictionConfig = Field(
        PredictionConfig(), description="What a request uses where it does not say otherwise."
    )

    @model_validator(mode="after")
    def _fills_something_in(self) -> Preset:
        if self.arguments and self.mcp_prompt is None:
            raise ValueError("`arguments` are filled into an `mcp_prompt`; name one")
        return self


def find_preset(presets: Mapping[str, Preset], name: str | None) -> Preset | None:
    """What `name` means: a declared preset, or a prompt of an MCP server as one. An empty preset
    where nothing is named, None where nobody has declared it."""
    if name is None:
        return Preset()
    return Preset(mcp_prompt=name) if is_prompt(name) else presets.get(name)
