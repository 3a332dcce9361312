"""Declared MCP servers for tests, and what there is to say of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.tools.mcp.consent import ToolDefinition


def local(*argv: str, **fields: Any) -> McpServerConfig:
    return McpServerConfig.model_validate(
        {"command": list(argv) or [sys.executable, "-m", "server"], **fields}
    )


def remote(url: str = "https://mcp.example.com/mcp", **fields: Any) -> McpServerConfig:
    return McpServerConfig.model_validate({"url": url, **fields})


def tool(name: str = "find", description: str = "Find an order.", **more: Any) -> ToolDefinition:
    schema = {"type": "object", "properties": {"id": {"type": "string"}}}
    return ToolDefinition(
        **{"name": name, "description": description, "input_schema": schema, **more}
    )


def write_program(where: Path, text: str = "exit 0") -> Path:
    where.write_text(f"#!/bin/sh\n{text}\n")
    where.chmod(0o755)
    return where
