"""`response_format`, OpenAI's word for an answer's form. It knows no other parameter."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from lmrun.api.fields import SAYS_ALL
from lmrun.settings.base import Settings
from lmrun.settings.structured import JsonOutput


def _parse_flag(value: Any) -> Any:
    """LM Studio's documentation sends `strict` as text."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


Flag = Annotated[bool, BeforeValidator(_parse_flag)]
"""True or false, also as text."""


class JsonSchemaFormat(Settings):
    """A schema. What it is called and whether it is `strict` changes nothing: it is enforced."""

    name: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    description: str | None = None
    json_schema: dict[str, Any] | bool = Field(alias="schema", description="A JSON schema.")
    strict: Flag | None = None


class ResponseFormat(Settings):
    """`text`: anything. `json_object`: some JSON object. `json_schema`: JSON of that schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _has_schema_where_needed(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise PydanticCustomError(
                SAYS_ALL, "`json_schema` belongs to the type `json_schema`, which needs it"
            )
        return self

    def to_output(self) -> JsonOutput | None:
        """In the house's words; None for free text."""
        if self.type == "text":
            return None
        if self.json_schema is None:
            return JsonOutput(type="json")
        return JsonOutput(type="json", json_schema=self.json_schema.json_schema)
