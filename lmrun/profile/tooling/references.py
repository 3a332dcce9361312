"""How a profile names what MCP servers have beside tools: prompts and resources. It knows no
server."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, StringConstraints

MCP_PROMPT_PATTERN = r"^mcp/[A-Za-z0-9_-]+/[^\x00-\x1f\x7f]+$"
MCP_RESOURCE_PATTERN = r"^mcp/[A-Za-z0-9_-]+/[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x1f\x7f]+$"
PRESET_CHOICE_PATTERN = r"^([A-Za-z0-9][A-Za-z0-9._-]*|mcp/[A-Za-z0-9_-]+/[^\x00-\x1f\x7f]+)$"

MAX_REFERENCE = 2048
MAX_CONTEXT = 16
"""Resources of one run, those of its agent and those that a request names each."""

McpPromptPath = Annotated[
    str, StringConstraints(pattern=MCP_PROMPT_PATTERN, max_length=MAX_REFERENCE)
]
McpResourcePath = Annotated[
    str, StringConstraints(pattern=MCP_RESOURCE_PATTERN, max_length=MAX_REFERENCE)
]
PresetChoice = Annotated[
    str, StringConstraints(pattern=PRESET_CHOICE_PATTERN, max_length=MAX_REFERENCE)
]
"""The name of a preset, or a prompt of an MCP server as one."""
McpResources = Annotated[tuple[McpResourcePath, ...], Field(max_length=MAX_CONTEXT, strict=False)]


def is_prompt(name: str) -> bool:
    """Whether what is chosen as a preset is a prompt of an MCP server."""
    return re.fullmatch(MCP_PROMPT_PATTERN, name) is not None


def is_resource(name: str) -> bool:
    """Whether it is a resource of an MCP server, `mcp/docs/note://hello`."""
    return re.fullmatch(MCP_RESOURCE_PATTERN, name) is not None


def split_reference(reference: str) -> tuple[str, str]:
    """`mcp/docs/note://hello` → the server, and what it calls the thing itself."""
    _, server, name = reference.split("/", 2)
    return server, name
