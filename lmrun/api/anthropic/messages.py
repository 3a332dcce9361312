"""Messages in Anthropic's notation: who says what kinds of blocks. It knows no other parameter."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, FailFast, Field
from pydantic_core import PydanticCustomError

from lmrun.api.anthropic.blocks.calls import (
    RedactedThinkingBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from lmrun.api.anthropic.blocks.content import MAX_BLOCKS, OrText, Text, TextBlock
from lmrun.api.anthropic.blocks.media import SEEN, Seen
from lmrun.api.anthropic.blocks.tagged import Tagged
from lmrun.api.fields import SAYS_ALL, only
from lmrun.settings.base import Settings

MAX_MESSAGES = 4096

_ASSISTANTS = "only an assistant's messages hold it"
_USERS = "only a user's messages hold it"
_SERVER_TOOL = "tools that run on the server come with a later issue"

_SAID = {
    "text": TextBlock,
    "tool_use": ToolUseBlock,
    "thinking": ThinkingBlock,
    "redacted_thinking": RedactedThinkingBlock,
}
_OF_SERVER_TOOLS = dict.fromkeys(
    (
        "server_tool_use",
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "mcp_tool_use",
        "mcp_tool_result",
        "container_upload",
    ),
    _SERVER_TOOL,
)


class UserMessage(Settings):
    """What a user shows, and what the assistant's calls gave."""

    role: Literal["user"]
    content: Annotated[
        tuple[
            Annotated[
                Seen | ToolResultBlock,
                Tagged(
                    {**SEEN, "tool_result": ToolResultBlock},
                    refused={**dict.fromkeys(_SAID, _ASSISTANTS), **_OF_SERVER_TOOLS},
                ),
            ],
            ...,
        ],
        Field(max_length=MAX_BLOCKS, strict=False),
        OrText(),
    ]


class AssistantMessage(Settings):
    """What an assistant thought, said and called."""

    role: Literal["assistant"]
    content: Annotated[
        tuple[
            Annotated[
                TextBlock | ToolUseBlock | ThinkingBlock | RedactedThinkingBlock,
                Tagged(
                    _SAID,
                    refused={
                        **dict.fromkeys([*SEEN, "tool_result"], _USERS),
                        **_OF_SERVER_TOOLS,
                    },
                ),
            ],
            ...,
        ],
        Field(max_length=MAX_BLOCKS, strict=False),
        OrText(),
    ]


class SystemMessage(Settings):
    """Instructions in the middle of a conversation; templates decide whether they take any."""

    role: Literal["system"]
    content: Text
    clear_at: Annotated[Any, only("never")] = None
    output_config: Annotated[Any, only({})] = None


def _check_length(value: Any) -> Any:
    """Before the messages themselves: of too many, none is worth a look."""
    if isinstance(value, list) and not value:
        raise PydanticCustomError(SAYS_ALL, "it is empty; it must hold at least one message")
    if isinstance(value, list) and len(value) > MAX_MESSAGES:
        raise PydanticCustomError(
            SAYS_ALL,
            "it holds {count} messages; at most {limit} are taken",
            {"count": len(value), "limit": MAX_MESSAGES},
        )
    return value


AnyMessage = UserMessage | AssistantMessage | SystemMessage

Messages = Annotated[
    tuple[
        Annotated[
            AnyMessage,
            Tagged(
                {"user": UserMessage, "assistant": AssistantMessage, "system": SystemMessage},
                key="role",
            ),
        ],
        ...,
    ],
    FailFast(),
    Field(strict=False, json_schema_extra={"minItems": 1, "maxItems": MAX_MESSAGES}),
    BeforeValidator(_check_length),
]
