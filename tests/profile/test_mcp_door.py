"""`server.mcp`: whether requests may bring MCP servers along."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lmrun.profile.schema import ServerConfig


@pytest.mark.parametrize(
    "value", [True, False, ["mcp.example.com"], ["*.example.com", "127.0.0.1:8000", "[::1]"]]
)
def test_nobody_everybody_or_some_hosts(value: Any) -> None:
    config = ServerConfig.model_validate({"mcp": {"ephemeral": value}})
    assert config.mcp.ephemeral == (tuple(value) if isinstance(value, list) else value)


def test_nobody_may_unless_the_profile_says_so() -> None:
    assert ServerConfig().mcp.ephemeral is False


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1, "must be true, false or a list of hosts, not a number"),
        ([], "at least 1 item"),
        ("mcp.example.com", "valid boolean"),
        (["https://mcp.example.com"], "should match pattern"),
    ],
)
def test_anything_else_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ServerConfig.model_validate({"mcp": {"ephemeral": value}})
