"""Objects that say themselves what they are: unions told apart by one key. It knows no block.

pydantic's own tagged unions put the tag into an error's path, where no parameter of that name is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from lmrun.api.fields import SAYS_ALL, UNSUPPORTED

_SHOWN = 60


@dataclass(frozen=True, slots=True, eq=False)
class Tagged:
    """For a union of `kinds`, chosen by the value of `key`. `refused`: other values that are
    known, with the reason why they are not taken."""

    kinds: Mapping[str, type[BaseModel]]
    key: str = "type"
    refused: Mapping[str, str] = field(default_factory=dict)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        # The union itself is there for the JSON schema.
        return core_schema.no_info_wrap_validator_function(self._choose, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema)

    def _choose(self, value: Any, _: Callable[[Any], Any]) -> BaseModel:
        tag = value.get(self.key) if isinstance(value, Mapping) else None
        if not isinstance(tag, str):
            raise PydanticCustomError(
                SAYS_ALL,
                "it must be an object whose `{key}` is {known}",
                {"key": self.key, "known": self._list_known()},
            )
        kind = self.kinds.get(tag)
        if kind is None:
            reason = self.refused.get(tag, f"only {self._list_known()} is")
            raise PydanticCustomError(
                UNSUPPORTED,
                "`{key}` {tag} is not supported: {reason}",
                {"key": self.key, "tag": repr(tag[:_SHOWN]), "reason": reason},
            )
        return kind.model_validate(value)

    def _list_known(self) -> str:
        return " or ".join(map(repr, self.kinds))
