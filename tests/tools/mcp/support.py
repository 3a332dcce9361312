"""A host with fake servers for tests: what may be done is declared, nobody else is asked."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.tools.mcp.backoff import Backoff
from lmrun.tools.mcp.consent import Fault, ToolDefinition
from lmrun.tools.mcp.host import McpHost
from lmrun.tools.models import Generate
from lmrun.tools.tool import Tool, ToolProgress, ToolResult

_ROOT = Path(__file__).parents[3]
_START = (
    f"import sys; sys.path.insert(0, {str(_ROOT)!r}); "
    "from tests.support.mcp_fake.program import main; main(sys.argv[1])"
)
FAKE_SERVER = (sys.executable, "-I", "-S", "-c", _START)
"""A command line, up to the name of a behaviour."""

HERE = Path(__file__).parent
QUICK = Backoff(first_s=0.05, longest_s=0.2, steady_s=60.0, most=4)

T = TypeVar("T")


class EverythingAgreed:
    """Somebody has agreed to everything but what is put into `not_started` and `not_used`."""

    def __init__(self) -> None:
        self.not_started: dict[str, Fault] = {}
        self.not_used: dict[str, Fault] = {}
        self.asked: list[str] = []

    def may_start(self, server: str, config: McpServerConfig, directory: Path) -> Fault | None:
        self.asked.append(server)
        return self.not_started.get(server)

    def may_use(self, server: str, definition: ToolDefinition) -> Fault | None:
        return self.not_used.get(definition.name)


class NoModels:
    def open(self, model: str) -> AbstractAsyncContextManager[Generate]:
        raise AssertionError(f"nobody may ask {model}")


def declare(behaviour: str = "good", **fields: Any) -> McpServerConfig:
    """The fake server; every tool of it is offered."""
    given = {
        "command": [*FAKE_SERVER, behaviour],
        "tools": {"allow": ["*"]},
        "timeout": "5s",
        **fields,
    }
    return McpServerConfig.model_validate(given)


@asynccontextmanager
async def hosting(
    servers: Mapping[str, McpServerConfig], directory: Path = HERE, **given: Any
) -> AsyncIterator[McpHost]:
    """A host that has `servers`; nothing of them is left when the block is left."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    options = {"models": NoModels(), "consent": EverythingAgreed(), "backoff": QUICK, **given}
    host = McpHost({**environment, "SECRET": "of lmrun's"}, **options)
    await host.adopt(servers, dict.fromkeys(servers, directory))
    try:
        yield host
    finally:
        await host.close()


async def find(host: McpHost, server: str, tool: str) -> Tool:
    """The tool that the server offers as `tool`."""
    tools = {it.spec.path: it for it in await host.tools(server)}
    return tools[f"mcp/{server}/{tool}"]


async def call(host: McpHost, server: str, tool: str, **arguments: Any) -> ToolResult:
    """What comes of calling a tool that is offered."""
    return await (await find(host, server, tool)).call(arguments, lambda progress: None)


async def call_with_progress(tool: Tool, **arguments: Any) -> tuple[ToolResult, list[ToolProgress]]:
    seen: list[ToolProgress] = []
    return await tool.call(arguments, seen.append), seen


async def eventually(look: Any, within_s: float = 10.0) -> Any:
    """The first truthy value of `look()`. Fails the test when none comes in time."""
    async with asyncio.timeout(within_s):
        while not (value := look()):
            await asyncio.sleep(0.01)
    return value


def run(body: Coroutine[Any, Any, T]) -> T:
    """Run it; whatever it started must have ended with it."""

    async def watched() -> T:
        value = await body
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"still running: {left}"
        return value

    return asyncio.run(watched())
