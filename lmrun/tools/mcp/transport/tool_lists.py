"""Lists of tools as they arrive: what is wrong with one of them is no matter to the others.

Pure."""

from __future__ import annotations

from typing import Any

import mcp_types as types
from pydantic import ValidationError

MAX_LISTED = 300
"""Of one page; more are not even looked at."""
_SHOWN = 100


def sift(result: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """A result of `tools/list` with those that are well formed, and why others are not, by name.

    A schema of arguments that does not say so is an object's: many servers leave that out for
    tools without arguments.
    """
    tools = result.get("tools")
    if not isinstance(tools, list):
        return result, {}
    good, bad = [], {}
    for tool in tools[:MAX_LISTED]:
        mended = _mend(tool)
        why = _find_fault(mended)
        if why is None:
            good.append(mended)
        else:
            bad[_name_of(tool)] = why
    return {**result, "tools": good}, bad


def _mend(tool: Any) -> Any:
    if not isinstance(tool, dict) or not isinstance(tool.get("inputSchema"), dict):
        return tool
    mended = {**tool, "inputSchema": {"type": "object", **tool["inputSchema"]}}
    promised = tool.get("outputSchema")
    if promised is None or (isinstance(promised, dict) and promised.get("type") != "object"):
        # Older revisions have none but an object's; then the result is not checked against it.
        mended.pop("outputSchema", None)
    return mended


def _find_fault(tool: Any) -> str | None:
    try:
        types.Tool.model_validate(tool, by_name=False)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))[:_SHOWN]
        return f"It is not described as a tool must be: {where}: {first['msg']}"
    if tool["inputSchema"]["type"] != "object":
        return "The schema of its arguments is not that of an object."
    return None


def _name_of(tool: Any) -> str:
    name = tool.get("name") if isinstance(tool, dict) else None
    return name[:_SHOWN] if isinstance(name, str) else "?"
