"""What a field can say beyond its type: known but refused, or refused with the whole story.

It knows no dialect and no request.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

UNSUPPORTED = "unsupported"
"""The type of a validation error about something known that cannot be honoured."""

SAYS_ALL = "says_all"
"""The type of a validation error whose message says what was there, too."""


EFFECT = "x-lmrun-effect"
"""In a field's schema: what becomes of the parameter, where it is not simply honoured. `refused`:
every value but those listed; `none`: it is taken and changes nothing, for the reason given."""

NOT_YET = "Not supported yet."
"""The description of a refused field for which there is no other reason."""

NO_EFFECT: dict[str, Any] = {EFFECT: "none"}
"""For `json_schema_extra`."""


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
        return {"enum": [*self.values, None], EFFECT: "refused"}

    def _check(self, value: Any) -> Any:
        # As JSON, since in Python `True == 1 == 1.0`.
        if value is None or _to_json(value) in map(_to_json, self.values):
            return value
        accepted = " or ".join(map(_to_json, self.values))
        reason = f"not supported; only {accepted} is" if accepted else "not supported"
        raise PydanticCustomError(UNSUPPORTED, "{reason}", {"reason": reason})


def only(*values: Any) -> Only:
    return Only(values)


def _to_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
