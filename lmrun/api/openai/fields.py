"""The kinds of fields that OpenAI's requests need beyond numbers. It knows no single request."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic import WithJsonSchema as Schema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from lmrun.settings.prediction import MAX_LOGIT_BIAS, MAX_STOP_STRING_LENGTH, MAX_STOP_STRINGS

UNSUPPORTED = "unsupported"
"""The type of a validation error about something known that cannot be honoured."""

SAYS_ALL = "says_all"
"""The type of a validation error whose message says what was there, too."""

_TOKEN_ID = re.compile(r"0|[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True, eq=False)
class Only:
    """A known parameter that changes nothing with these values; with any other it is refused.

    Compared by identity: `typing` reuses equal annotations, and `False` equals 0.
    """

    values: tuple[Any, ...]

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, __: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"enum": [*self.values, None]}

    def _check(self, value: Any) -> Any:
        # As JSON, since in Python `True == 1 == 1.0`.
        if value is None or _to_json(value) in map(_to_json, self.values):
            return value
        accepted = " or ".join(map(_to_json, self.values))
        reason = f"not supported yet; only {accepted} is" if accepted else "not supported yet"
        raise PydanticCustomError(UNSUPPORTED, "{reason}", {"reason": reason})


def only(*values: Any) -> Only:
    return Only(values)


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


def _to_text(value: Any) -> Any:
    """A string, or text parts joined by line breaks."""
    if not isinstance(value, list):
        return value
    return "\n".join(_to_part_text(index, part) for index, part in enumerate(value))


def _to_part_text(index: int, part: Any) -> str:
    where = {"where": f"part {index}"}
    kind = part.get("type") if isinstance(part, Mapping) else None
    if isinstance(kind, str) and kind != "text":
        raise PydanticCustomError(
            UNSUPPORTED, "{where} is {kind}; only text is supported", {**where, "kind": kind[:40]}
        )
    if kind != "text" or not isinstance(part.get("text"), str) or len(part) != 2:
        raise PydanticCustomError(
            SAYS_ALL, '{where} is not of the form {"type": "text", "text": "…"}', where
        )
    return str(part["text"])


Text = Annotated[
    str,
    BeforeValidator(_to_text),
    Schema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
                        "required": ["type", "text"],
                        "additionalProperties": False,
                    },
                },
            ]
        }
    ),
]
"""A message's content: a string or an array of text parts."""


def _to_prompt(value: Any) -> Any:
    """A string, or an array that holds just one."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return value
    if len(value) != 1 or not isinstance(value[0], str):
        raise PydanticCustomError(
            UNSUPPORTED, "several prompts and token ids are not supported yet; send one string"
        )
    return value[0]


PromptText = Annotated[
    str,
    BeforeValidator(_to_prompt),
    Schema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1},
            ]
        }
    ),
]
"""The prompt of a completion."""
