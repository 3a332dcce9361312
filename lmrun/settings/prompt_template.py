"""Which chat template a model uses instead of its own. It knows no template's text."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from lmrun.settings.base import Settings
from lmrun.settings.prediction import MAX_STOP_STRINGS, StopString

MAX_JINJA_BYTES = 256 * 1000
MAX_AFFIX_LENGTH = 4096

Affix = Annotated[str, Field(max_length=MAX_AFFIX_LENGTH)]
TemplateName = Literal[
    "alpaca",
    "chatml",
    "gemma",
    "llama2",
    "llama3",
    "mistral",
    "phi4",
    "phi4-mini",
    "qwen2.5",
    "vicuna",
]


def _check_size(jinja: str) -> str:
    size = len(jinja.encode("utf-8", "surrogatepass"))
    if size > MAX_JINJA_BYTES:
        raise ValueError(f"must have at most {MAX_JINJA_BYTES // 1000} kB, not {size // 1000}")
    return jinja


class ManualTemplate(Settings):
    """LM Studio's manual form: what stands before and after each role's text.

    The prompt ends with `before_assistant`. A tool's result counts as the user's.
    """

    before_system: Affix = Field("", description="Before a system message.")
    after_system: Affix = Field("", description="After a system message.")
    before_user: Affix = Field("", description="Before what the user says.")
    after_user: Affix = Field("", description="After what the user says.")
    before_assistant: Affix = Field("", description="Before what the model says, and at the end.")
    after_assistant: Affix = Field("", description="After what the model said.")
    stop_strings: Annotated[
        tuple[StopString, ...], Field(max_length=MAX_STOP_STRINGS, strict=False)
    ] = Field(
        (), description="Texts that end an answer in a conversation, besides those of the request."
    )


class PromptTemplate(Settings):
    """The chat template of a model, instead of the one in its file: exactly one of these.

    A changed value is a Reload.
    """

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    jinja: Annotated[str, Field(min_length=1), AfterValidator(_check_size)] | None = Field(
        None,
        description="The template's text, as Hugging Face's transformers take it; from a file: "
        "`${file:./chat.jinja}`. Whether it is Jinja shows when the model is loaded: an error "
        "fails the load and names the line.",
    )
    manual: ManualTemplate | None = Field(
        None, description="Text before and after each message, without tools."
    )
    name: TemplateName | None = Field(
        None,
        description="A well-known format. With tools of its own: `llama3` (that of 3.1), "
        "`mistral`, `phi4-mini` and `qwen2.5` (that of Hermes).",
    )

    @model_validator(mode="after")
    def _check_one(self) -> PromptTemplate:
        given = [it for it in (self.jinja, self.manual, self.name) if it is not None]
        if len(given) != 1:
            raise ValueError("must have exactly one of `jinja`, `manual` and `name`")
        return self

    def __str__(self) -> str:
        """On one line; another text looks other."""
        if self.name is not None:
            return self.name
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]
        return f"{'jinja' if self.manual is None else 'manual'} ({digest})"
