"""Messages in OpenAI's notation, and in ours. It knows no other parameter of a request."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from lmrun.api.fields import NO_EFFECT, NOT_YET, SAYS_ALL, UNSUPPORTED, only
from lmrun.api.openai.fields import Content
from lmrun.api.openai.tools import FunctionType
from lmrun.api.tool_choice import ToolName
from lmrun.chat.messages import ImagePart, Message, ToolCall
from lmrun.settings.base import Settings

MAX_CALLS = 128


class CalledFunction(Settings):
    """`arguments`: JSON text, as the model wrote it."""

    name: ToolName
    arguments: str
    parsed_arguments: Any = Field(
        None, description="What OpenAI's package reads in `arguments`.", json_schema_extra=NO_EFFECT
    )


class ChatToolCall(Settings):
    """A call that the assistant made earlier in the conversation. `index`: what clients that
    collect a stream may leave behind."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    type: FunctionType = "function"
    function: CalledFunction
    index: int | None = Field(None, description="Its place in the list says the same.")


class ChatMessage(Settings):
    """One message. Fields that clients echo from an answer may be there, empty."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    tool_calls: Annotated[
        tuple[ChatToolCall, ...] | None, Field(max_length=MAX_CALLS, strict=False)
    ] = Field(None, description="What an assistant called.")
    tool_call_id: str | None = Field(
        None, max_length=256, description="The call whose result a tool's message is."
    )
    reasoning_content: str | None = Field(
        None, description="What an assistant thought; templates decide whether it is shown."
    )
    reasoning: str | None = Field(None, description="Another name of reasoning_content.")
    name: str | None = Field(
        None,
        max_length=256,
        description="Of a tool's message, the tool. Chat templates have no place for other names.",
    )
    function_call: Annotated[Any, only()] = Field(
        None, description="The old notation of tool calls; send `tool_calls`."
    )
    refusal: Annotated[Any, only()] = Field(None, description="Models here do not refuse this way.")
    audio: Annotated[Any, only()] = Field(None, description=NOT_YET)
    annotations: Annotated[Any, only([])] = Field(None, description=NOT_YET)
    parsed: Any = Field(
        None, description="What OpenAI's package reads in `content`.", json_schema_extra=NO_EFFECT
    )

    @field_validator("role", mode="before")
    @classmethod
    def _is_known(cls, value: Any) -> Any:
        if value == "function":
            raise PydanticCustomError(
                UNSUPPORTED, "'function' is not supported; send the role tool with a tool_call_id"
            )
        return value

    @model_validator(mode="after")
    def _fits_its_role(self) -> ChatMessage:
        for wrong in (
            _find_missing(self),
            _find_misplaced(self, "assistant", ("tool_calls", "reasoning_content", "reasoning")),
            _find_misplaced(self, "tool", ("tool_call_id", "name")),
        ):
            if wrong:
                raise PydanticCustomError(SAYS_ALL, "{wrong}", {"wrong": wrong})
        return self


def _find_missing(message: ChatMessage) -> str | None:
    if message.role != "user" and isinstance(message.content, tuple):
        return "only messages of the role user may hold images"
    if message.role == "tool" and message.tool_call_id is None:
        return "a message of the role tool needs `tool_call_id`, the call it answers"
    if message.content is None and not (message.role == "assistant" and _says_without(message)):
        return "it needs `content`"
    return None


def _says_without(message: ChatMessage) -> bool:
    return bool(message.tool_calls or message.reasoning_content or message.reasoning)


def _find_misplaced(message: ChatMessage, role: str, names: tuple[str, ...]) -> str | None:
    if message.role == role:
        return None
    wrong = next((name for name in names if getattr(message, name)), None)
    return f"`{wrong}` belongs to messages of the role {role}" if wrong else None


def to_message(message: ChatMessage) -> Message:
    """The same in the house's words."""
    return Message(
        "system" if message.role == "developer" else message.role,
        message.content if message.content is not None else "",
        reasoning=message.reasoning_content or message.reasoning or None,
        tool_calls=tuple(
            ToolCall(call.id, call.function.name, call.function.arguments)
            for call in message.tool_calls or ()
        ),
        tool_call_id=message.tool_call_id,
        name=message.name,
    )


def locate_images(messages: tuple[Message, ...]) -> list[str]:
    """Where each image was in the request: names of parameters."""
    return [
        f"messages[{i}].content[{j}].image_url.url"
        for i, message in enumerate(messages)
        if not isinstance(message.content, str)
        for j, part in enumerate(message.content)
        if isinstance(part, ImagePart)
    ]
