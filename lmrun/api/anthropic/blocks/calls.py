"""Blocks of tools and of thought, as they come back in a conversation's history. It knows no
message."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from lmrun.api.anthropic.blocks.content import MAX_BLOCKS, Block, OrText
from lmrun.api.anthropic.blocks.media import SEEN, Seen
from lmrun.api.anthropic.blocks.tagged import Tagged
from lmrun.api.fields import only
from lmrun.settings.base import Settings

CallId = Annotated[str, Field(min_length=1, max_length=256)]
ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]

_NO_SEARCH = "tools are not searched here; send those that are needed"
_NO_BROWSER = "no browser runs here"


class ToolUseBlock(Block):
    """A call that the assistant made. `caller`: an answer of lmrun never has another one."""

    type: Literal["tool_use"]
    id: CallId
    name: ToolName
    input: dict[str, Any]
    caller: Annotated[Any, only({"type": "direct"})] = None
    toolset_name: Annotated[Any, only()] = None


class ToolResultBlock(Block):
    """What a call gave, or, with `is_error`, why it gave nothing."""

    type: Literal["tool_result"]
    tool_use_id: CallId
    content: (
        Annotated[
            tuple[
                Annotated[
                    Seen,
                    Tagged(
                        SEEN, refused={"tool_reference": _NO_SEARCH, "browser_state": _NO_BROWSER}
                    ),
                ],
                ...,
            ],
            Field(max_length=MAX_BLOCKS, strict=False),
            OrText(),
        ]
        | None
    ) = None
    is_error: bool | None = None
    toolset_name: Annotated[Any, only()] = None


class ThinkingBlock(Settings):
    """What an assistant thought. `signature`: nothing here is signed, so none is checked."""

    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(Settings):
    """Thoughts that somebody else encrypted: nobody here can read them, so no model sees them."""

    type: Literal["redacted_thinking"]
    data: str
