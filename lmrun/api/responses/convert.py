"""Requests → the house's values. Pure: it knows no instance, no store and no wire."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lmrun.api.prompt_limits import check_request
from lmrun.api.responses.conversation import locate_images, to_messages
from lmrun.api.responses.requests.bodies import LOGPROBS, PromptRequest, ResponseRequest
from lmrun.api.responses.requests.items import Item
from lmrun.api.responses.requests.tools import (
    find_functions,
    find_servers,
    to_choice,
    to_tools,
)
from lmrun.chat.messages import find_images
from lmrun.chat.request import Request, Thinking, ToolChoice
from lmrun.errors import InvalidParameter, RequestError
from lmrun.settings.prediction import PredictionConfig

_BY_THEIR_NAMES = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "deterministic",
)
"""Parameters that are prediction settings as they stand."""

_FIELDS = {
    "prompt": "input",
    "messages": "input",
    "structured": "text.format",
    "reasoning_effort": "reasoning.effort",
    "enable_thinking": "reasoning.effort",
    "max_tokens": "max_output_tokens",
    "logprobs": "include",
    "context_overflow_policy": "truncation",
}
"""What the house calls a setting → the field that it came in."""

_IMAGE = re.compile(r"images\[(\d+)\]")
"""How engines name an image of a prompt."""


def to_request(request: PromptRequest, earlier: Sequence[Item]) -> Request:
    """The conversation: `earlier` items, of the responses that are continued, then the request's.

    The choice among tools of MCP servers is made when these are known. Raises BodyTooLarge, and
    InvalidParameter for what contradicts itself.
    """
    messages = to_messages((*earlier, *request.input), request.instructions)
    if not messages:
        raise InvalidParameter(
            "`input` is required.",
            param="input",
            hint="Without it, `instructions` or `previous_response_id` must say something.",
        )
    parallel = request.parallel_tool_calls is not False
    choice, tools = ToolChoice(parallel=parallel), to_tools(find_functions(request.tools or ()))
    if not find_servers(request.tools or ()):
        choice, tools = to_choice(request.tool_choice, tools, parallel=parallel)
    reasoning = request.reasoning
    converted = Request(
        messages,
        tools=tools,
        tool_choice=choice,
        thinking=Thinking(effort=reasoning.effort if reasoning is not None else None),
    )
    places = locate_all_images(request, earlier)
    check_request(converted, lambda number: places[number])
    return converted


def to_prediction(request: ResponseRequest) -> PredictionConfig:
    """Only what the request chose. Raises InvalidParameter for choices that contradict."""
    values = ((name, getattr(request, name)) for name in _BY_THEIR_NAMES)
    chosen: dict[str, Any] = {name: value for name, value in values if value is not None}
    if request.stream_options is not None and not request.stream:
        raise InvalidParameter("`stream_options` needs `stream: true`.", param="stream_options")
    if request.max_output_tokens is not None:
        chosen["max_tokens"] = request.max_output_tokens
    if request.truncation is not None:
        chosen["context_overflow_policy"] = (
            "truncateMiddle" if request.truncation == "auto" else "stopAtLimit"
        )
    if request.text is not None and request.text.format is not None:
        chosen["structured"] = request.text.format.to_output()
    if LOGPROBS in (request.include or ()):
        chosen["logprobs"] = request.top_logprobs or 0
    elif request.top_logprobs:
        raise InvalidParameter(
            f"`top_logprobs` needs `include: [{LOGPROBS!r}]`.", param="top_logprobs"
        )
    return PredictionConfig(**chosen)


def locate_all_images(request: PromptRequest, earlier: Sequence[Item]) -> list[str]:
    """The field that each image of the conversation came in."""
    before = len(find_images(to_messages(earlier, None))) if earlier else 0
    return ["previous_response_id"] * before + locate_images(request.input)


def name_field(error: RequestError, places: Sequence[str]) -> None:
    """Let an error of the engine name the field that its subject came in. `places`: of images."""
    if error.param is None:
        return
    if image := _IMAGE.fullmatch(error.param):
        error.param = places[int(image[1])]
    else:
        error.param = _FIELDS.get(error.param, error.param)
