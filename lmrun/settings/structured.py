"""Structured output: what an answer must look like. It knows no engine and no dialect.

Limits are those below which no grammar was seen to harm an engine; they are checked here where
they are about size, and by the engine where they are about structure.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from lmrun.settings.base import Settings

MAX_SCHEMA_BYTES = 256 * 2**10
MAX_SCHEMA_DEPTH = 64
MAX_GRAMMAR_BYTES = 256 * 2**10
MAX_REGEX_CHARACTERS = 8192
MAX_CHOICES = 10_000
MAX_TRIGGERS = 16
MAX_MARKERS = 16


MarkerText = Annotated[str, Field(min_length=1, max_length=64)]
RuleName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class ThoughtMarks(Settings):
    """What stands around a model's reasoning: text, or control tokens where the vocabulary has
    them.

    `is_open`: the answer begins inside; a worker sets it where the prompt ends with `start`.
    """

    start: MarkerText = Field(description="What opens it, such as `<think>`.")
    end: MarkerText = Field(description="What closes it, such as `</think>`.")
    is_open: bool = Field(
        False, description="The answer begins inside. So it is, too, where the prompt opened it."
    )


class _Output(Settings):
    """What all kinds share."""

    thought: ThoughtMarks | None = Field(
        None,
        description="An answer may begin with reasoning between these marks, which is free; what "
        "it must look like, triggers included, counts from its end on.",
    )


class JsonOutput(_Output):
    """JSON, compact, that satisfies `json_schema`; without one, any JSON object."""

    type: Literal["json"] = Field(description="`json`.")
    json_schema: dict[str, Any] | bool = Field(
        default_factory=lambda: {"type": "object"}, description="A JSON schema."
    )

    @field_validator("json_schema")
    @classmethod
    def _is_small(cls, value: dict[str, Any] | bool) -> dict[str, Any] | bool:
        _require_plain(value)
        if len(json.dumps(value)) > MAX_SCHEMA_BYTES:
            raise PydanticCustomError("plain", f"must be at most {MAX_SCHEMA_BYTES} bytes of JSON")
        return value


def _require_plain(value: Any) -> None:
    """Nothing that JSON or a frame cannot hold; without recursion, level by level."""
    level = [value]
    for _ in range(MAX_SCHEMA_DEPTH + 1):
        inner: list[Any] = []
        for outer in level:
            if isinstance(outer, dict):
                inner += [*outer.keys(), *outer.values()]
            elif isinstance(outer, list | tuple):
                inner += outer
            else:
                _require_scalar(outer)
        if not inner:
            return
        level = inner
    raise PydanticCustomError("plain", f"must not be nested deeper than {MAX_SCHEMA_DEPTH}")


def _require_scalar(value: Any) -> None:
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        raise PydanticCustomError(
            "plain", "must not hold half a surrogate pair, which is no character"
        )
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise PydanticCustomError("plain", "must not hold whole numbers beyond 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("plain", "must not hold numbers that are not finite")


class RegexOutput(_Output):
    """Text that matches `regex` as a whole."""

    type: Literal["regex"] = Field(description="`regex`.")
    regex: str = Field(min_length=1, max_length=MAX_REGEX_CHARACTERS)


class ChoiceOutput(_Output):
    """One of `choices`, to the letter."""

    type: Literal["choice"] = Field(description="`choice`.")
    choices: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...],
        Field(min_length=1, max_length=MAX_CHOICES, strict=False),
    ]


class GrammarOutput(_Output):
    """Text that `grammar` derives. `gbnf`: llama.cpp's notation; `lark`: llguidance's.

    A grammar makes text, never a control token, and how a model's vocabulary writes its markup is
    known to the engine alone. So markup that may be a control token is a marker: a rule that the
    grammar uses but does not define. `{"tool_calls": "[TOOL_CALLS]"}` lets `start: tool_calls …`
    mean that control token where there is one, and the same text where there is none. A trigger
    with a marker's text finds both.
    """

    type: Literal["gbnf", "lark"] = Field(description="The grammar's notation.")
    grammar: Annotated[str, Field(min_length=1, max_length=MAX_GRAMMAR_BYTES)]
    triggers: Annotated[tuple[MarkerText, ...], Field(max_length=MAX_TRIGGERS, strict=False)] = (
        Field(
            (),
            description="The grammar begins where the first of these texts in the answer begins, "
            "and reads that text, too; before it, anything goes. None: it begins at once.",
        )
    )
    markers: Annotated[dict[RuleName, MarkerText], Field(max_length=MAX_MARKERS)] = Field(
        default_factory=dict,
        description="Lark only: rules that `grammar` uses and does not define, with their text. "
        "Each is the control token of that text where the vocabulary has one, else the text.",
    )

    best_effort: bool = Field(
        False,
        description="Enforce what can be: a schema inside that cannot is any JSON, and the answer "
        "of a model that cannot be constrained is free.",
    )

    @model_validator(mode="after")
    def _markers_are_larks(self) -> GrammarOutput:
        if self.markers and self.type != "lark":
            raise PydanticCustomError("plain", "`markers` goes with the type `lark` only")
        return self


StructuredOutput = Annotated[
    JsonOutput | RegexOutput | ChoiceOutput | GrammarOutput, Field(discriminator="type")
]


def open_thought(structured: StructuredOutput, prompt: str) -> StructuredOutput:
    """`structured` for the answer to `prompt`, which may have opened the model's reasoning."""
    thought = structured.thought
    if thought is None or not prompt.rstrip().endswith(thought.start):
        return structured
    opened = thought.model_copy(update={"is_open": True})
    return structured.model_copy(update={"thought": opened})
