"""Requests → the house's values. Pure: it knows no instance and no wire."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from lmrun.api.openai.chat_messages import locate_images, to_message
from lmrun.api.openai.requests import (
    ChatRequest,
    CompletionRequest,
    ConversationRequest,
    GenerationRequest,
)
from lmrun.api.openai.sampling import SamplingParameters
from lmrun.api.openai.tools import to_choice, to_tools
from lmrun.api.prompt_limits import check_request
from lmrun.chat.request import Prompt, Request, Thinking
from lmrun.errors import InvalidParameter
from lmrun.settings.prediction import PredictionConfig
from lmrun.settings.structured import JsonOutput

_IMAGE = re.compile(r"images\[(\d+)\]")
"""How engines name an image of a prompt."""


def to_request(request: ConversationRequest) -> Request:
    """The conversation; `developer` is the newer name of `system`. Raises BodyTooLarge, and
    InvalidParameter for too many images and for tools that contradict each other."""
    choice, tools = to_choice(
        request.tool_choice,
        to_tools(request.tools or ()),
        parallel=request.parallel_tool_calls is not False,
    )
    converted = Request(
        messages=tuple(map(to_message, request.messages)),
        tools=tools,
        tool_choice=choice,
        thinking=Thinking(effort=request.reasoning_effort),
        variables=request.chat_template_kwargs or {},
    )
    check_request(converted, lambda number: locate_images(converted.messages)[number])
    return converted


def name_field(prompt: Prompt, param: str) -> str:
    """The field that an error's `param`, in the house's words, came in: of a conversation's prompt
    `messages`, or the place of the image."""
    if not isinstance(prompt, Request):
        return param
    if image := _IMAGE.fullmatch(param):
        return locate_images(prompt.messages)[int(image[1])]
    return "messages" if param == "prompt" else param


def to_prediction(request: GenerationRequest) -> PredictionConfig:
    """Only what the request chose. Raises InvalidParameter for choices that contradict."""
    if request.stream_options is not None and not request.stream:
        raise InvalidParameter("`stream_options` needs `stream: true`.", param="stream_options")
    given = request.model_fields_set & SamplingParameters.model_fields.keys()
    values = ((name, getattr(request, name)) for name in given)
    chosen = {name: value for name, value in values if value is not None}
    if isinstance(request, ChatRequest):
        chosen |= _choose_for_chat(request)
    if isinstance(request, CompletionRequest):
        chosen |= _choose_for_completion(request)
    if chosen.get("max_tokens") == 0 and not chosen.get("echo"):
        raise InvalidParameter(
            "`max_tokens`: must be at least 1, or -1 for no limit; 0 needs `echo: true`.",
            param="max_tokens",
        )
    if request.structured is not None:
        chosen["structured"] = request.structured
    if request.stop is not None:
        chosen["stop_strings"] = request.stop
    if request.seed is not None:
        chosen["seed"] = fold_seed(request.seed)
    return PredictionConfig(**chosen)


def fold_seed(seed: int) -> int:
    """OpenAI's seeds have 63 bits, ours 32: small ones stay, others are folded, always alike."""
    return (seed ^ (seed >> 32)) & 0xFFFF_FFFF


def _choose_for_chat(request: ChatRequest) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    if request.max_completion_tokens is not None:
        chosen["max_tokens"] = _choose_max_tokens(request.max_tokens, request.max_completion_tokens)
    if request.top_logprobs and not request.logprobs:
        raise InvalidParameter("`top_logprobs` needs `logprobs: true`.", param="top_logprobs")
    if request.response_format is not None:
        chosen["structured"] = _choose_structured(request)
    if request.logprobs is not None:
        chosen["logprobs"] = (request.top_logprobs or 0) if request.logprobs else None
    return chosen


def _choose_for_completion(request: CompletionRequest) -> dict[str, Any]:
    values = {"echo": request.echo, "logprobs": request.logprobs}
    return {name: value for name, value in values.items() if value is not None}


def _choose_structured(request: ChatRequest) -> JsonOutput | None:
    assert request.response_format is not None
    if request.structured is not None:
        raise InvalidParameter(
            "`response_format` and `structured` are two ways to say what the answer must look "
            "like; send one.",
            param="structured",
        )
    try:
        return request.response_format.to_output()
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InvalidParameter(
            f"`response_format.json_schema.schema`: {reason}.", param="response_format"
        ) from None


def _choose_max_tokens(old: int | None, new: int) -> int:
    if old is not None and old != new:
        raise InvalidParameter(
            "`max_tokens` and `max_completion_tokens` are two names of one setting; they differ.",
            param="max_completion_tokens",
        )
    return new
