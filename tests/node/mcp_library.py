"""Prompts and resources of MCP servers for Node, as they are published. Run by `python -m
tests.node`, which installs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lmrun.errors import McpUnusable
from lmrun.profile.tooling.mcp import McpServerConfig
from tests.node.mcp_servers import EVERYTHING, everything_over_http
from tests.tools.mcp.support import hosting, run

TEXT = "demo://resource/dynamic/text/1"
EMBEDDED = {"resourceType": "Text", "resourceId": "1"}


@contextmanager
def declared(over: str) -> Iterator[McpServerConfig]:
    fields: dict[str, Any] = {"prompts": True, "resources": True, "start_timeout": "60s"}
    if over == "stdio":
        yield McpServerConfig.model_validate({"command": [*EVERYTHING, "stdio"], **fields})
    else:
        with everything_over_http() as url:
            yield McpServerConfig.model_validate({"url": url, **fields})


@pytest.mark.parametrize("over", ["stdio", "streamable HTTP"])
def test_conversations_begin_with_what_everything_gives(over: str) -> None:
    async def body(config: McpServerConfig) -> None:
        async with hosting({"s": config}) as host:
            (simple,) = await host.get_prompt("s", "simple-prompt", {})
            assert simple.content == "This is a simple prompt without arguments."
            where = {"city": "Bern", "state": "BE"}
            (weather,) = await host.get_prompt("s", "args-prompt", where)
            assert weather.content == "What's weather in Bern, BE?"
            asked, embedded = await host.get_prompt("s", "resource-prompt", EMBEDDED)
            assert "Please analyze" in str(asked.content)
            assert "This is a plaintext resource" in str(embedded.content)
            with pytest.raises(McpUnusable, match="needs an argument 'city'"):
                await host.get_prompt("s", "args-prompt", {})
            with pytest.raises(McpUnusable, match="It has simple-prompt"):
                await host.get_prompt("s", "simple", {})
            assert "This is a plaintext resource" in str(await host.read_resource("s", TEXT))

    with declared(over) as config:
        run(body(config))
