"""How tools are called: by a profile, and towards models and clients. It knows no single tool."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

TOOL_KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
SERVER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9-]*(_[A-Za-z0-9-]+)*$"
"""Without `__`, which parts a server's name from its tools'."""
TOOL_PATTERN_PATTERN = r"^(\*|mcp/[A-Za-z0-9_*-]+/[A-Za-z0-9_.*-]+|[A-Za-z0-9_*-]+)$"
"""A tool's path, or several at once: `add`, `mcp/time/*`, `*`."""

MAX_MODEL_NAME_LENGTH = 64

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


def mcp_path(server: str, tool: str) -> str:
    """What a profile calls the tool of a server: `mcp/time/get_current_time`."""
    return f"mcp/{server}/{tool}"


def mcp_name(server: str, tool: str) -> str:
    """What models and clients call it: `time__get_current_time`. Names with characters that
    clients refuse lose them; two tools of a server may come to the same name, which whoever
    collects tools must notice."""
    return f"{server}__{_NOT_IN_NAMES.sub('_', tool)}"[:MAX_MODEL_NAME_LENGTH]


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern of a profile means the tool called `path` there. `*` is any text within
    one part; alone it means every tool."""
    if pattern == "*":
        return True
    # What a server calls its tools may hold `/`, too.
    theirs, ours = pattern.split("/"), path.split("/", 2)
    return len(theirs) == len(ours) and all(map(fnmatchcase, ours, theirs))
