"""`text`: what an answer must look like. It knows no other parameter.

Format: `ResponseTextConfig` of OpenAI's reference.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from lmrun.api.fields import NO_EFFECT, only
from lmrun.api.responses.requests.kinds import OneOf
from lmrun.errors import InvalidParameter
from lmrun.settings.base import Settings
from lmrun.settings.structured import JsonOutput


class PlainFormat(Settings):
    """Anything."""

    type: Literal["text"]

    def to_output(self) -> JsonOutput | None:
        return None


class JsonObjectFormat(Settings):
    """Some JSON object."""

    type: Literal["json_object"]

    def to_output(self) -> JsonOutput | None:
        return JsonOutput(type="json")


class JsonSchemaFormat(Settings):
    """JSON that satisfies a schema."""

    type: Literal["json_schema"]
    name: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None, json_schema_extra=NO_EFFECT, description="It is enforced whatever it is called."
    )
    json_schema: dict[str, Any] | bool = Field(alias="schema", description="A JSON schema.")
    description: str | None = Field(
        None, json_schema_extra=NO_EFFECT, description="The schema is enforced, not shown."
    )
    strict: bool | None = Field(
        None, json_schema_extra=NO_EFFECT, description="It is always enforced."
    )

    def to_output(self) -> JsonOutput | None:
        try:
            return JsonOutput(type="json", json_schema=self.json_schema)
        except ValidationError as error:
            raise InvalidParameter(
                f"`text.format.schema`: {error.errors()[0]['msg']}.", param="text.format.schema"
            ) from None


Format = Annotated[
    PlainFormat | JsonObjectFormat | JsonSchemaFormat,
    OneOf(
        {"text": PlainFormat, "json_object": JsonObjectFormat, "json_schema": JsonSchemaFormat},
        instead="only text, json_object and json_schema are",
    ),
]


class TextConfig(Settings):
    """What the text of an answer is like."""

    format: Format | None = None
    verbosity: Annotated[Any, only("medium")] = Field(
        None, description="Models here have one verbosity, which is the default."
    )
