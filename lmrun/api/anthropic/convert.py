"""Requests → the house's values. Pure: it knows no instance and no wire."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from lmrun.api.anthropic.conversation import convert_messages
from lmrun.api.anthropic.envelope import ThreadUnsupported
from lmrun.api.anthropic.requests import MessagesRequest, PromptRequest
from lmrun.api.anthropic.thinking import choose_thinking
from lmrun.api.anthropic.tools import to_choice, to_tools
from lmrun.api.prompt_limits import check_request
from lmrun.chat.language import Language
from lmrun.chat.request import Request
from lmrun.errors import InvalidParameter
from lmrun.settings.prediction import PredictionConfig
from lmrun.settings.structured import JsonOutput

_IMAGE = re.compile(r"images\[(\d+)\]")
"""How engines name an image of a prompt."""

_NAMES = {
    "prompt": "messages",
    "stop_strings": "stop_sequences",
    "enable_thinking": "thinking",
    "reasoning_effort": "output_config.effort",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request in the house's words. `images`: the parameter that holds each image."""

    prompt: Request
    images: tuple[str, ...]


def to_request(request: PromptRequest) -> Asked:
    """The conversation and its tools; what the model is told about thinking is open yet.

    Raises BodyTooLarge, UnsupportedParameter, and InvalidParameter for what makes no conversation,
    for too many images and for tools that contradict each other.
    """
    converted = convert_messages(request.system or (), request.messages)
    tools = to_tools(request.tools or ())
    prompt = Request(
        messages=tuple(converted.messages),
        tools=tools,
        tool_choice=to_choice(request.tool_choice, tools),
    )
    check_request(prompt, converted.images.__getitem__)
    return Asked(prompt, tuple(converted.images))


def add_thinking(prompt: Request, request: PromptRequest, language: Language) -> Request:
    """The same for a model with this language. Raises UnsupportedParameter."""
    effort = request.output_config.effort if request.output_config is not None else None
    thinking, variables = choose_thinking(request.thinking, effort, language)
    return replace(prompt, thinking=thinking, variables=variables)


def to_prediction(request: MessagesRequest) -> PredictionConfig:
    """Only what the request chose. Raises InvalidParameter, and ThreadUnsupported."""
    if request.thread is not None:
        raise ThreadUnsupported(
            "`thread`: the server keeps no conversation; send all of its messages.", param="thread"
        )
    values: dict[str, Any] = {
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "deterministic": request.deterministic,
        "stop_strings": request.stop_sequences,
        "structured": to_structured(request),
    }
    return PredictionConfig(**{name: it for name, it in values.items() if it is not None})


def to_structured(request: PromptRequest) -> JsonOutput | None:
    """What the answer must look like. Raises InvalidParameter."""
    config = request.output_config
    wanted = config.format if config is not None else None
    if wanted is not None and request.output_format is not None:
        raise InvalidParameter(
            "`output_format` is the older name of `output_config.format`; send one.",
            param="output_format",
        )
    wanted = wanted or request.output_format
    if wanted is None:
        return None
    try:
        return JsonOutput(type="json", json_schema=wanted.json_schema)
    except ValidationError as error:
        where = f"{name_structured(request)}.schema"
        reason = error.errors()[0]["msg"]
        raise InvalidParameter(f"`{where}`: {reason}.", param=where) from None


def name_structured(request: PromptRequest) -> str:
    """The parameter that says what the answer must look like."""
    return "output_format" if request.output_format is not None else "output_config.format"


def to_parameter(param: str, request: PromptRequest, asked: Asked) -> str:
    """The name here of what is called `param` inside the house."""
    if image := _IMAGE.fullmatch(param):
        return asked.images[int(image[1])]
    if param == "structured":
        return name_structured(request)
    return _NAMES.get(param, param)
