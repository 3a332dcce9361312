"""Tool calls of a chat as items of its answer: what was called, of whom, and what came of it. Pure.

Format: lmstudio-ai/docs, `1_developer/2_rest/chat.md`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from lmrun.api.acting.kit import Offer
from lmrun.tools.act.events import CallFailed, CallSucceeded
from lmrun.tools.tool import ErrorKind


class PluginInfo(msgspec.Struct, frozen=True, tag_field="type", tag="plugin"):
    """Tools of the profile; `plugin_id` as the request gives it."""

    plugin_id: str


class EphemeralInfo(msgspec.Struct, frozen=True, tag_field="type", tag="ephemeral_mcp"):
    """A server that the request brought along."""

    server_label: str


ProviderInfo = PluginInfo | EphemeralInfo


class ToolCallOutput(msgspec.Struct, frozen=True, tag_field="type", tag="tool_call"):
    """A call, and what the model read of it. `error`: why that is no good result; LM Studio's
    format has no such field."""

    tool: str
    arguments: dict[str, Any]
    output: str
    provider_info: ProviderInfo
    error: ErrorKind | UnsetType = UNSET


class InvalidCallMetadata(msgspec.Struct, frozen=True):
    """`type`: LM Studio knows the first two; in events, a call that was made and failed has lmrun's
    own word for it."""

    tool_name: str
    type: Literal["invalid_name", "invalid_arguments"] | ErrorKind = "invalid_name"
    arguments: dict[str, Any] | UnsetType = UNSET
    provider_info: ProviderInfo | UnsetType = UNSET


class InvalidCallOutput(msgspec.Struct, frozen=True, tag_field="type", tag="invalid_tool_call"):
    """A call that could not be made: there is no such tool, or its arguments are wrong."""

    reason: str
    metadata: InvalidCallMetadata


CallOutput = ToolCallOutput | InvalidCallOutput

_INVALID: dict[ErrorKind, Literal["invalid_name", "invalid_arguments"]] = {
    "unknown_tool": "invalid_name",
    "invalid_arguments": "invalid_arguments",
    "not_a_call": "invalid_arguments",
}


@dataclass(slots=True)
class CallRecord:
    """One call as it goes on. `name`: as the model called the tool; `offer`: None where there is no
    such tool. `texts`: its arguments, as they come."""

    name: str
    offer: Offer[ProviderInfo] | None = None
    texts: list[str] = field(default_factory=list)
    result: CallSucceeded | CallFailed | None = None

    @property
    def tool(self) -> str:
        """The tool's own name."""
        return self.offer.own_name if self.offer is not None else self.name

    @property
    def arguments(self) -> dict[str, Any] | None:
        """None while they are not whole, or if they are no JSON object."""
        try:
            value = json.loads("".join(self.texts))
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    def to_metadata(self) -> InvalidCallMetadata:
        """Of a call that failed."""
        if self.offer is None or not isinstance(self.result, CallFailed):
            return InvalidCallMetadata(self.tool)
        arguments = self.arguments
        error = self.result.error
        return InvalidCallMetadata(
            self.tool,
            _INVALID.get(error, error),
            UNSET if arguments is None else arguments,
            self.offer.source.info,
        )

    def to_output(self) -> CallOutput | None:
        """Its item; None while there is no result."""
        result = self.result
        if result is None:
            return None
        error = result.error if isinstance(result, CallFailed) else None
        if self.offer is None or error in _INVALID:
            return InvalidCallOutput(result.text, self.to_metadata())
        return ToolCallOutput(
            self.tool,
            self.arguments or {},
            result.text,
            self.offer.source.info,
            UNSET if error is None else error,
        )


def no_such_tool(name: str) -> InvalidCallOutput:
    """A call in a chat that has no tools at all."""
    return InvalidCallOutput(f"Cannot find tool with name {name}.", InvalidCallMetadata(name))
