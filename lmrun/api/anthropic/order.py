"""The order of messages that makes a conversation, as Anthropic has it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lmrun.api.anthropic.blocks.calls import ToolResultBlock, ToolUseBlock
from lmrun.api.anthropic.messages import AnyMessage, AssistantMessage
from lmrun.errors import InvalidParameter, UnsupportedParameter


def check_order(messages: Sequence[AnyMessage]) -> None:
    """A user begins, and has the last word.

    Raises InvalidParameter, and UnsupportedParameter for an answer that is begun already.
    """
    first = next((n for n, it in enumerate(messages) if it.role != "system"), 0)
    if messages[first].role != "user":
        raise InvalidParameter(
            f"`messages[{first}].role`: the first message must be a user's.",
            param=f"messages[{first}].role",
        )
    last = len(messages) - 1
    if messages[last].role == "assistant":
        raise UnsupportedParameter(
            f"`messages[{last}]`: an answer that is begun already cannot be continued here.",
            param=f"messages[{last}].role",
            hint="The conversation must end with a user's message.",
        )


def check_results(messages: Sequence[AnyMessage]) -> None:
    """Every call has one result, in the message after it. Raises InvalidParameter."""
    waiting: dict[str, str] = {}
    for index, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            _require_none(waiting)
        for number, block in enumerate(message.content):
            where = f"messages[{index}].content[{number}]"
            if isinstance(block, ToolUseBlock):
                if block.id in waiting:
                    raise InvalidParameter(
                        f"`{where}.id`: {block.id!r} is the id of another call.",
                        param=f"{where}.id",
                    )
                waiting[block.id] = where
            elif isinstance(block, ToolResultBlock) and not waiting.pop(block.tool_use_id, None):
                raise InvalidParameter(
                    f"`{where}.tool_use_id`: the message before has no call "
                    f"{block.tool_use_id!r} that still needs a result.",
                    param=f"{where}.tool_use_id",
                )
    _require_none(waiting)


def _require_none(waiting: dict[str, str]) -> None:
    for call, where in waiting.items():
        raise InvalidParameter(
            f"`{where}`: the call {call!r} has no `tool_result` in the message after it.",
            param=where,
        )
