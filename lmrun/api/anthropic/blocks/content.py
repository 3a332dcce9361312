"""A message's content: blocks, or a string that stands for one block of text. It knows no block
but text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from lmrun.api.anthropic.blocks.tagged import Tagged
from lmrun.api.fields import NO_EFFECT, only
from lmrun.settings.base import Settings

MAX_BLOCKS = 4096

CacheControl = Annotated[
    dict[str, Any] | None,
    Field(
        description="Every prompt's beginning is cached, marked or not.",
        json_schema_extra=NO_EFFECT,
    ),
]


class Block(Settings):
    """What all blocks may carry."""

    cache_control: CacheControl = None


class TextBlock(Block):
    """Text. `citations`: what clients echo from an answer without any."""

    type: Literal["text"]
    text: str
    citations: Annotated[Any, only([])] = None


@dataclass(frozen=True, slots=True, eq=False)
class OrText:
    """For an array of blocks that may come as a string."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_to_blocks, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


def _to_blocks(value: Any) -> Any:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


Text = Annotated[
    tuple[Annotated[TextBlock, Tagged({"text": TextBlock})], ...],
    Field(max_length=MAX_BLOCKS, strict=False),
    OrText(),
]
"""Blocks of text, or a string."""


def join_text(blocks: tuple[TextBlock, ...]) -> str:
    """Their text, joined by line breaks as everywhere."""
    return "\n".join(block.text for block in blocks)
