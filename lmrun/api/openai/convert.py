"""Requests → the house's values. Pure: it knows no instance and no wire."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from lmrun.api.openai.requests import ChatRequest, CompletionRequest, GenerationRequest
from lmrun.api.openai.sampling import SamplingParameters
from lmrun.chat.messages import (
    MAX_IMAGES,
    MAX_IMAGES_BYTES,
    Conversation,
    ImagePart,
    Message,
    RawPrompt,
    TextPart,
)
from lmrun.errors import BodyTooLarge, InvalidParameter, UnsupportedParameter
from lmrun.settings.prediction import PredictionConfig
from lmrun.settings.structured import JsonOutput

MAX_TEXT_BYTES = 8 * 2**20
"""Of a prompt, in UTF-8: what tokenizers and the frames to a worker are meant for."""


def to_conversation(request: ChatRequest) -> Conversation:
    """The messages; `developer` is the newer name of `system`. Raises BodyTooLarge, and
    InvalidParameter for more than MAX_IMAGES images."""
    _check_size(sum(_count_bytes(message.content) for message in request.messages))
    conversation = Conversation(
        tuple(
            Message("system" if message.role == "developer" else message.role, message.content)
            for message in request.messages
        )
    )
    _check_images(conversation)
    return conversation


def locate_image(conversation: Conversation, number: int) -> str:
    """Where the image with that number, from 0, was in the request: the name of a parameter."""
    places = [
        f"messages[{i}].content[{j}].image_url.url"
        for i, message in enumerate(conversation.messages)
        if not isinstance(message.content, str)
        for j, part in enumerate(message.content)
        if isinstance(part, ImagePart)
    ]
    return places[number]


def to_raw_prompt(request: CompletionRequest) -> RawPrompt:
    """The prompt as it stands. Raises BodyTooLarge."""
    _check_size(len(request.prompt.encode()))
    return RawPrompt(request.prompt)


def to_prediction(request: GenerationRequest) -> PredictionConfig:
    """Only what the request chose. Raises InvalidParameter for choices that contradict."""
    if request.stream_options is not None and not request.stream:
        raise InvalidParameter("`stream_options` needs `stream: true`.", param="stream_options")
    values = ((name, getattr(request, name)) for name in SamplingParameters.model_fields)
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


def count_choices(request: GenerationRequest) -> int:
    """How many answers to generate. Raises UnsupportedParameter when the best of more is wanted."""
    choices = request.n or 1
    if isinstance(request, CompletionRequest) and request.best_of not in (None, choices):
        raise UnsupportedParameter(
            f"`best_of`: not supported yet; only {choices}, the number of choices, is.",
            param="best_of",
        )
    return choices


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


def _count_bytes(content: str | tuple[TextPart | ImagePart, ...]) -> int:
    """Of text, in UTF-8."""
    if isinstance(content, str):
        return len(content.encode())
    return sum(len(part.text.encode()) for part in content if isinstance(part, TextPart))


def _check_images(conversation: Conversation) -> None:
    images = conversation.images
    if len(images) > MAX_IMAGES:
        raise InvalidParameter(
            f"The messages hold {len(images)} images; at most {MAX_IMAGES} are taken.",
            param=locate_image(conversation, MAX_IMAGES),
        )
    size_bytes = sum(map(len, images))
    if size_bytes > MAX_IMAGES_BYTES:
        raise BodyTooLarge(
            f"The images have {size_bytes} bytes together; at most {MAX_IMAGES_BYTES} are taken."
        )


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_TEXT_BYTES:
        raise BodyTooLarge(
            f"The prompt has {size_bytes} bytes of text; at most {MAX_TEXT_BYTES} are taken."
        )
