"""The kinds of fields that OpenAI's requests need beyond numbers. It knows no single request."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
)
from pydantic import WithJsonSchema as Schema
from pydantic_core import PydanticCustomError

from lmrun.api.enclosed_files import parse_image, parse_text_file
from lmrun.api.fields import SAYS_ALL, UNSUPPORTED
from lmrun.chat.messages import ImagePart, TextPart
from lmrun.settings.prediction import MAX_LOGIT_BIAS, MAX_STOP_STRING_LENGTH, MAX_STOP_STRINGS

_TOKEN_ID = re.compile(r"0|[1-9][0-9]{0,9}")


def _to_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _to_stop_strings(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


StopStrings = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=MAX_STOP_STRING_LENGTH)], ...],
    Field(max_length=MAX_STOP_STRINGS, strict=False),
    BeforeValidator(_to_stop_strings),
    Schema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": MAX_STOP_STRING_LENGTH},
                {
                    "type": "array",
                    "maxItems": MAX_STOP_STRINGS,
                    "items": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": MAX_STOP_STRING_LENGTH,
                    },
                },
            ]
        }
    ),
]
"""A string or several."""


def _to_logit_bias(value: Any) -> Any:
    """JSON's string keys → token ids. Length first: the rest is not worth a look beyond it."""
    if not isinstance(value, Mapping):
        return value
    if len(value) > MAX_LOGIT_BIAS:
        raise PydanticCustomError(
            SAYS_ALL,
            "it holds {count} tokens; at most {limit} are taken",
            {"count": len(value), "limit": MAX_LOGIT_BIAS},
        )
    for key in value:
        if not _TOKEN_ID.fullmatch(key):
            raise PydanticCustomError(
                SAYS_ALL,
                'the key {key} is no token id; ids are whole numbers from 0, such as "42"',
                {"key": _to_json(key[:40])},
            )
    return {int(key): bias for key, bias in value.items()}


LogitBias = Annotated[
    dict[Annotated[int, Field(lt=2**31)], Annotated[float, Field(ge=-100, le=100)]],
    BeforeValidator(_to_logit_bias),
    Schema(
        {
            "type": "object",
            "maxProperties": MAX_LOGIT_BIAS,
            "propertyNames": {"pattern": f"^(?:{_TOKEN_ID.pattern})$"},
            "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
        }
    ),
]
"""Bias by token id; JSON has the ids as strings."""


def _to_content(value: Any) -> Any:
    """A string; text parts joined by line breaks; or all parts when there are images."""
    if not isinstance(value, list):
        return value
    parts = tuple(_to_part(index, part) for index, part in enumerate(value))
    if any(isinstance(part, ImagePart) for part in parts):
        return parts
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))


def _to_part(index: int, part: Any) -> TextPart | ImagePart:
    where = {"where": f"part {index}"}
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "image_url":
        return ImagePart(_to_image(index, part))
    if kind == "file":
        return TextPart(_to_file(index, part))
    if isinstance(kind, str) and kind != "text":
        raise PydanticCustomError(
            UNSUPPORTED,
            "{where} is {kind}; only text, image_url and file are supported",
            {**where, "kind": kind[:40]},
        )
    if kind != "text" or not isinstance(part.get("text"), str) or len(part) != 2:
        raise PydanticCustomError(
            SAYS_ALL, '{where} is not of the form {"type": "text", "text": "…"}', where
        )
    return TextPart(part["text"])


def _to_image(index: int, part: Mapping[str, Any]) -> bytes:
    where = {"where": f"part {index}"}
    image = part.get("image_url")
    known = isinstance(image, Mapping) and image.keys() <= {"url", "detail"} and len(part) == 2
    if not known or not isinstance(image, Mapping) or not isinstance(image.get("url"), str):
        form = '{"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}}'
        raise PydanticCustomError(
            SAYS_ALL, "{where} is not of the form {form}", where | {"form": form}
        )
    if image.get("detail") not in (None, "auto"):
        raise PydanticCustomError(
            UNSUPPORTED,
            '{where}: `detail` is not supported; only "auto" is: the model decides',
            where,
        )
    try:
        return parse_image(image["url"])
    except ValueError as error:
        raise PydanticCustomError(
            SAYS_ALL, "{where}: `image_url.url`: {reason}", where | {"reason": str(error)}
        ) from None


def _to_file(index: int, part: Mapping[str, Any]) -> str:
    """A text file as text, its name above it."""
    where = {"where": f"part {index}"}
    file = part.get("file")
    known = isinstance(file, Mapping) and file.keys() <= {"filename", "file_data"}
    if not known or not isinstance(file, Mapping) or not isinstance(file.get("file_data"), str):
        form = (
            '{"type": "file", "file": {"filename": "…", "file_data": "data:text/plain;base64,…"}}'
        )
        raise PydanticCustomError(
            SAYS_ALL, "{where} is not of the form {form}", where | {"form": form}
        )
    try:
        text = parse_text_file(file["file_data"])
    except ValueError as error:
        raise PydanticCustomError(
            SAYS_ALL, "{where}: `file.file_data`: {reason}", where | {"reason": str(error)}
        ) from None
    name = file.get("filename")
    return f"File {name}:\n{text}" if isinstance(name, str) and name else text


def _keep(value: Any) -> Any:
    if not isinstance(value, str | tuple):
        raise PydanticCustomError("string_type", "Input should be a valid string")
    return value


Content = Annotated[
    str | tuple[TextPart | ImagePart, ...],
    PlainValidator(_keep),
    BeforeValidator(_to_content),
    Schema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "array",
                    "items": {
                        "anyOf": [
                            {
                                "type": "object",
                                "properties": {
                                    "type": {"const": "text"},
                                    "text": {"type": "string"},
                                },
                                "required": ["type", "text"],
                                "additionalProperties": False,
                            },
                            {
                                "type": "object",
                                "properties": {
                                    "type": {"const": "file"},
                                    "file": {
                                        "type": "object",
                                        "properties": {
                                            "filename": {"type": "string"},
                                            "file_data": {"type": "string", "pattern": "^data:"},
                                        },
                                        "required": ["file_data"],
                                        "additionalProperties": False,
                                    },
                                },
                                "required": ["type", "file"],
                                "additionalProperties": False,
                            },
                            {
                                "type": "object",
                                "properties": {
                                    "type": {"const": "image_url"},
                                    "image_url": {
                                        "type": "object",
                                        "properties": {
                                            "url": {"type": "string", "pattern": "^data:image/"},
                                            "detail": {"const": "auto"},
                                        },
                                        "required": ["url"],
                                        "additionalProperties": False,
                                    },
                                },
                                "required": ["type", "image_url"],
                                "additionalProperties": False,
                            },
                        ]
                    },
                },
            ]
        }
    ),
]
"""A message's content: a string, or an array of text and image parts."""
