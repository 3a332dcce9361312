"""Checks: what a model is asked, and what its answer must be like. It knows no file and no model.

Contradictions inside one check are found here; what needs the rest of the profile is found there.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from lmrun.settings.base import Settings
from lmrun.settings.bounds import Determinism, ModelName
from lmrun.settings.prediction import PredictionConfig
from lmrun.settings.quantities import Duration

MAX_TEXT_LENGTH = 100_000
MAX_MESSAGES = 256
MAX_TOOLS = 128
MAX_LOAD = 64
MAX_REGEX_LENGTH = 8192
TOOL_NAME_PATTERN = r"^[a-zA-Z0-9_.-]{1,64}$"

_OWN_FIELDS = ("seed", "deterministic")
_SHOWS_NOWHERE = ("echo", "logprobs")

FinishReason = Literal["stop", "length", "tool_calls"]
"""OpenAI's words: it ended by itself, was cut off, or asks for tools."""

Text = Annotated[str, Field(max_length=MAX_TEXT_LENGTH)]
SomeText = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_LENGTH)]
ToolName = Annotated[str, Field(pattern=TOOL_NAME_PATTERN)]
CallId = Annotated[str, Field(min_length=1, max_length=256)]


def _check_regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        # Not the whole message: it quotes the pattern, which may come out of a variable.
        reason = re.split(r"['\\]", getattr(error, "msg", "too large"))[0].strip()
        where = getattr(error, "pos", None)
        place = "" if where is None else f" at character {where + 1}"
        raise ValueError(f"is no regular expression of Python's: {reason}{place}") from None
    return pattern


def _check_schema(schema: dict[str, Any] | bool) -> dict[str, Any] | bool:
    # Imported late: most profiles have no schema, and every command reads one.
    from lmrun.settings.json_schema import find_schema_fault

    fault = find_schema_fault(schema)
    if fault is not None:
        raise ValueError(fault)
    return schema


def _to_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Regex = Annotated[
    str, Field(min_length=1, max_length=MAX_REGEX_LENGTH), AfterValidator(_check_regex)
]
JsonSchema = Annotated[dict[str, Any] | bool, AfterValidator(_check_schema)]
Texts = Annotated[
    tuple[SomeText, ...],
    Field(min_length=1, max_length=64, strict=False),
    BeforeValidator(_to_list, json_schema_input_type=SomeText | list[SomeText]),
]


class CheckToolCall(Settings):
    """A call that the assistant made earlier in a check's conversation."""

    id: CallId = Field(description="What the tool's message names as `tool_call_id`.")
    name: ToolName = Field(description="The tool that was called.")
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="What it was called with, as a mapping."
    )


class CheckMessage(Settings):
    """One message of a check's conversation."""

    role: Literal["system", "user", "assistant", "tool"] = Field(description="Who says it.")
    content: Text = Field("", description="Its text.")
    tool_calls: Annotated[tuple[CheckToolCall, ...], Field(max_length=MAX_TOOLS, strict=False)] = (
        Field((), description="What an assistant called.")
    )
    tool_call_id: CallId | None = Field(
        None, description="The call whose result a tool's message is."
    )

    @model_validator(mode="after")
    def _fits_its_role(self) -> CheckMessage:
        if self.tool_calls and self.role != "assistant":
            raise ValueError("`tool_calls` belongs to messages of the role assistant")
        if (self.tool_call_id is not None) != (self.role == "tool"):
            raise ValueError(
                "`tool_call_id` belongs to messages of the role tool, which need it: "
                "the id of the call that they answer"
            )
        if not self.content and not self.tool_calls and self.role != "tool":
            raise ValueError("needs `content`, what is said")
        return self


class CheckTool(Settings):
    """A tool that the model may call in a check; it is never run."""

    description: Text | None = Field(None, description="What the model is told of it.")
    parameters: JsonSchema | None = Field(
        None, description="The JSON schema of its arguments, an object. Default: no arguments."
    )

    @model_validator(mode="after")
    def _takes_an_object(self) -> CheckTool:
        if (
            isinstance(self.parameters, bool)
            or (self.parameters or {}).get("type", "object") != "object"
        ):
            raise ValueError("`parameters` must be the schema of an object (`type: object`)")
        return self


class ExpectedCall(Settings):
    """A tool call that must be in the answer."""

    name: ToolName = Field(description="The tool that is called.")
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        description="What must be among its arguments: mappings may hold more, lists may not, "
        "values are equal.",
    )


class Expectations(Settings):
    """What an answer must be like: all that is given here.

    Texts are compared with the answer's message, without the model's reasoning.
    """

    equals: Text | None = Field(None, description="The whole text, to the letter.")
    golden: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        None,
        description="A file with the whole answer for each `system_fingerprint`, relative to this "
        "profile and below its directory; `lmrun check --update` writes it.",
    )
    contains: Texts | None = Field(None, description="A text that is in it, or several.")
    not_contains: Texts | None = Field(None, description="A text that is not in it, or several.")
    regex: Regex | None = Field(
        None, description="A regular expression of Python's that matches somewhere in it."
    )
    json_schema: JsonSchema | None = Field(
        None, description="It is JSON that satisfies this schema."
    )
    tool_call: ExpectedCall | None = Field(None, description="A tool is called.")
    finish_reason: FinishReason | None = Field(
        None, description="Why it ends: by itself, cut off, or for tools to be called."
    )
    max_ttft: Annotated[Duration, Field(gt=0)] | None = Field(
        None, description="Longest time to the first token, once the model is loaded."
    )
    min_tokens_per_second: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        None, description="Lowest speed after the first token."
    )
    same_twice: bool = Field(False, description="The same question again gives the same answer.")
    same_under_load: Annotated[int, Field(ge=0, le=MAX_LOAD)] = Field(
        0, description="The same answer beside so many other requests to the model; 0: not asked."
    )

    @model_validator(mode="after")
    def _are_some_without_contradiction(self) -> Expectations:
        if not any(getattr(self, name) for name in self.model_fields_set - {"equals"}) and (
            self.equals is None and self.json_schema is None
        ):
            raise ValueError("expects nothing; say what the answer must be like")
        if self.equals is not None and self.golden is not None:
            raise ValueError("`equals` and `golden` both say what the whole answer is; keep one")
        both = set(self.contains or ()) & set(self.not_contains or ())
        if both:
            raise ValueError("`contains` and `not_contains` name the same text; no answer is both")
        return self


class Check(Settings):
    """A question to a model and what its answer must be like. `lmrun check` asks it."""

    model: ModelName = Field(description="The model to ask: its key, or an identifier.")
    prompt: SomeText | None = Field(None, description="What the user says.")
    messages: (
        Annotated[
            tuple[CheckMessage, ...],
            Field(min_length=1, max_length=MAX_MESSAGES, strict=False),
        ]
        | None
    ) = Field(None, description="A conversation instead of `prompt`.")
    tools: Annotated[dict[ToolName, CheckTool], Field(max_length=MAX_TOOLS)] = Field(
        default_factory=dict, description="Tools that the model may call, by name."
    )
    tool_choice: Literal["auto", "required", "none"] = Field(
        "auto", description="Whether a tool is called: as the model decides, always, never."
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        0, description="Same seed, same question, same answer."
    )
    deterministic: Determinism = Field(
        "strict", description="`strict`: the same answer, whatever else runs."
    )
    prediction: PredictionConfig = Field(
        PredictionConfig(), description="Settings over those of the model's preset."
    )
    timeout: Annotated[Duration, Field(gt=0)] = Field(
        300.0,
        description="Longest time for one answer, loading included.",
        json_schema_extra={"default": "5m"},
    )
    expect: Expectations = Field(description="What the answer must be like.")

    @model_validator(mode="after")
    def _is_one_question(self) -> Check:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("needs either `prompt` or `messages`")
        chosen = self.prediction.model_fields_set
        for name in _OWN_FIELDS:
            if name in chosen:
                raise ValueError(f"`prediction.{name}` stands beside `prediction` here: `{name}`")
        for name in _SHOWS_NOWHERE:
            if name in chosen:
                raise ValueError(f"`prediction.{name}` shows nowhere in a check; leave it out")
        _check_calls(self)
        if self.expect.golden is not None and self.deterministic == "off":
            raise ValueError("`expect.golden` needs `deterministic: strict`, the default")
        return self


def _check_calls(check: Check) -> None:
    """Raises ValueError where calls are expected or required that cannot come."""
    expected = check.expect.tool_call
    wants_calls = expected is not None or check.expect.finish_reason == "tool_calls"
    if check.tool_choice == "required" and not check.tools:
        raise ValueError("`tool_choice: required` needs `tools`")
    if wants_calls and not check.tools:
        raise ValueError("a tool call is expected, but there are no `tools`")
    if wants_calls and check.tool_choice == "none":
        raise ValueError("a tool call is expected, but `tool_choice` is none")
    if expected is not None and expected.name not in check.tools:
        raise ValueError("`expect.tool_call.name` is none of `tools`")
