"""A chat's request → the house's values. Pure: it knows no instance and no wire."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lmrun.api.lmstudio.v1.requests import ChatRequestV1, InputItem
from lmrun.api.lmstudio.v1.turns import History
from lmrun.api.prompt_limits import check_request
from lmrun.chat.messages import ImagePart, Message, TextPart, find_images
from lmrun.chat.request import Request
from lmrun.settings.prediction import PredictionConfig

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repeat_penalty", "deterministic")
_IMAGE = re.compile(r"images\[(\d+)\]")
_FIELDS = {
    "prompt": "input",
    "max_tokens": "max_output_tokens",
    "tools": "integrations",
}
"""Names that lower rooms use, and the fields they came in."""


def to_prediction(request: ChatRequestV1) -> PredictionConfig:
    """Only what the request chose."""
    chosen = {name: getattr(request, name) for name in _SAMPLING}
    chosen["max_tokens"] = request.max_output_tokens
    return PredictionConfig(**{name: it for name, it in chosen.items() if it is not None})


def to_user_message(given: Sequence[InputItem]) -> Message:
    """Texts that follow each other are joined by line breaks, as in all dialects."""
    parts = tuple(
        TextPart(item.content or "") if item.data_url is None else ImagePart(item.data_url)
        for item in given
    )
    if any(isinstance(part, ImagePart) for part in parts):
        return Message("user", parts)
    return Message("user", "\n".join(part.text for part in parts if isinstance(part, TextPart)))


def to_request(request: ChatRequestV1, history: History) -> Request:
    """The whole conversation; what the model is told of reasoning depends on the model.

    Raises BodyTooLarge, and InvalidParameter for too many images.
    """
    system_prompt = request.system_prompt
    if system_prompt is None:
        system_prompt = history.system_prompt
    system = () if system_prompt is None else (Message("system", system_prompt),)
    converted = Request((*system, *history.messages, to_user_message(request.input)))
    check_request(converted, lambda number: _locate_image(request, history, number))
    return converted


def to_field(request: ChatRequestV1, history: History, param: str) -> str:
    """The field of the request that `param`, in the house's words, came in."""
    if image := _IMAGE.fullmatch(param):
        return _locate_image(request, history, int(image[1]))
    return _FIELDS.get(param, param)


def _locate_image(request: ChatRequestV1, history: History, number: int) -> str:
    earlier = len(find_images(history.messages))
    if number < earlier:
        return "previous_response_id"
    places = [at for at, item in enumerate(request.input) if item.data_url is not None]
    return f"input[{places[number - earlier]}].data_url"
