"""Functions as tools for tests: a module, a host on it, calls."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

from lmrun.profile.tooling.tools import ToolConfig
from lmrun.tools.functions.host import FunctionHost
from lmrun.tools.tool import ToolResult


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(body, 50))


def write(folder: Path, code: str, module: str = "tools") -> Path:
    file = folder / f"{module}.py"
    file.write_text(dedent(code))
    return file


@asynccontextmanager
async def hosting(
    folder: Path,
    *names: str,
    environment: Mapping[str, str] | None = None,
    start_timeout_s: float = 30.0,
    tools: Mapping[str, Mapping[str, Any]] | None = None,
    **fields: Any,
) -> AsyncIterator[FunctionHost]:
    """The functions `names` of `tools.py` in `folder`, all with `fields`; and `tools` as a profile
    declares them."""
    declared = {name: {"python": f"tools:{name}", **fields} for name in names} | dict(tools or {})
    configs = {key: ToolConfig.model_validate(config) for key, config in declared.items()}
    host = await FunctionHost.open(
        configs,
        dict.fromkeys(configs, folder),
        os.environ if environment is None else environment,
        start_timeout_s=start_timeout_s,
    )
    try:
        yield host
    finally:
        await host.close()


async def call(host: FunctionHost, tool: str, **arguments: Any) -> ToolResult:
    return await host.tools[tool].call(arguments, lambda progress: None)
