"""Texts or token ids, one or several: how prompts and what is to be embedded come. Pure.

It knows no other parameter and no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from lmrun.errors import InvalidParameter

MAX_TOKEN_ID = 2**31 - 1

Texts = tuple[str | tuple[int, ...], ...]

_TOKENS = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": MAX_TOKEN_ID},
    "minItems": 1,
}

_KINDS = ("a string", "an array of token ids")


@dataclass(frozen=True, slots=True)
class TextsField:
    """A field called `name` that takes what `parse_texts` does, and holds what that gives."""

    name: str
    limit: int

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        # An error of ours goes through pydantic as it is, and so names the text that is wrong.
        return core_schema.no_info_plain_validator_function(
            lambda value: parse_texts(value, self.name, self.limit)
        )

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, __: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        bounds = {"type": "array", "minItems": 1, "maxItems": self.limit}
        several = [{**bounds, "items": {"type": "string"}}, {**bounds, "items": _TOKENS}]
        return {"anyOf": [{"type": "string"}, _TOKENS, *several]}


def parse_texts(value: Any, name: str, limit: int) -> Texts:
    """A string, an array of strings, an array of token ids, or an array of such arrays.

    Raises InvalidParameter, whose `param` says which one is wrong (`input[3]`); `name` is what the
    parameter is called, `limit` how many texts it may hold.
    """
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        raise InvalidParameter(
            f"`{name}`: must be a string, an array of strings, of token ids, or of arrays of them.",
            param=name,
        )
    if not value:
        raise InvalidParameter(f"`{name}`: it is empty.", param=name)
    if _is_whole(value[0]):
        return (_parse_tokens(value, name),)
    if len(value) > limit:
        raise InvalidParameter(
            f"`{name}`: it holds {len(value)} texts; at most {limit} are taken.", param=name
        )
    return tuple(_parse_one(each, f"{name}[{n}]", value[0]) for n, each in enumerate(value))


def _parse_one(value: Any, where: str, first: Any) -> str | tuple[int, ...]:
    if isinstance(value, str) and isinstance(first, str):
        return value
    if isinstance(value, list) and isinstance(first, list):
        return _parse_tokens(value, where)
    wanted = "must be a string or an array of token ids"
    if isinstance(first, str | list):
        wanted = f"must be {_KINDS[isinstance(first, list)]}, as the first one is"
    raise InvalidParameter(f"`{where}`: {wanted}.", param=where)


def _parse_tokens(value: list[Any], where: str) -> tuple[int, ...]:
    if not value:
        raise InvalidParameter(f"`{where}`: it holds no token.", param=where)
    for index, token in enumerate(value):
        if not _is_whole(token) or not 0 <= token <= MAX_TOKEN_ID:
            place = f"{where}[{index}]"
            raise InvalidParameter(
                f"`{place}`: must be a token id, a whole number from 0 to {MAX_TOKEN_ID}.",
                param=place,
            )
    return tuple(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
