"""The schema of a tool's arguments, as every dialect takes it. It knows no dialect."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from lmrun.api.fields import SAYS_ALL

_MAX_SHOWN_CHARACTERS = 60


def _require_object(schema: dict[str, Any]) -> dict[str, Any]:
    # Anything else would be enforced as it says, and what the model wrote would be no call.
    kind = schema.get("type", "object")
    if kind != "object":
        shown = json.dumps(kind)[:_MAX_SHOWN_CHARACTERS]
        raise PydanticCustomError(
            SAYS_ALL,
            "{reason}",
            {"reason": f'its `type` must be "object", as arguments are, not {shown}'},
        )
    return schema


ArgumentsSchema = Annotated[dict[str, Any], AfterValidator(_require_object)]
"""A JSON schema; where it says a type, it is `object`."""
