"""Objects whose `type` says what they are. It knows no single type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from lmrun.api.fields import SAYS_ALL, UNSUPPORTED

_MAX_SHOWN = 40


@dataclass(frozen=True, slots=True, eq=False)
class OneOf:
    """An object that is one of `kinds`, by its `type`; without one it is of the kind `default`.

    `instead`: what to send instead of a type that is not among them. A validated value is of the
    kind's own class; errors inside it name the field, as if there were no choice.
    """

    kinds: Mapping[str, type[BaseModel]]
    instead: str
    default: str | None = None

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [handler(kind.__pydantic_core_schema__) for kind in self.kinds.values()]}

    def parse(self, value: Any) -> BaseModel:
        """The typed object. Raises PydanticCustomError, ValidationError."""
        if not isinstance(value, Mapping):
            raise PydanticCustomError("object_type", "Input should be a valid object")
        name = value.get("type") or self.default
        if not isinstance(name, str):
            names = ", ".join(self.kinds)
            raise PydanticCustomError(SAYS_ALL, "it needs a `type`: {names}", {"names": names})
        if name not in self.kinds:
            context = {"name": name[:_MAX_SHOWN], "instead": self.instead}
            raise PydanticCustomError(
                UNSUPPORTED, "the type {name} is not supported; {instead}", context
            )
        return self.kinds[name].model_validate(value)


@dataclass(frozen=True, slots=True, eq=False)
class OrText:
    """A list that may come as a string, of which `wrap` makes one."""

    wrap: Callable[[str], Any]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._prepare, handler(source))

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(core)]}

    def _prepare(self, value: Any) -> Any:
        return self.wrap(value) if isinstance(value, str) else value
