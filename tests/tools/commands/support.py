"""Command tools for tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmrun.profile.tooling.tools import ToolConfig
from lmrun.tools.commands.tool import CommandTool
from lmrun.tools.tool import ToolResult


def make(
    folder: Path,
    *command: str,
    environment: Mapping[str, str] | None = None,
    **fields: Any,
) -> CommandTool:
    """A tool that runs in `folder`; its parameters are texts unless `fields` says otherwise."""
    config = ToolConfig.model_validate({"command": list(command), **fields})
    return CommandTool("tool", config, folder, os.environ if environment is None else environment)


def texts(*names: str) -> dict[str, Any]:
    return {name: {"type": "string"} for name in names}


def run(tool: CommandTool, **arguments: Any) -> ToolResult:
    return asyncio.run(asyncio.wait_for(tool.call(arguments, lambda progress: None), 30))
