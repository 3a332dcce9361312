"""A tool that is a function of Python, called in a process of its own. It knows no policy."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

from lmrun.profile.tooling.tools import ToolConfig
from lmrun.tools.declared import make_spec
from lmrun.tools.functions.frames import Call, Described, Returned
from lmrun.tools.functions.pool import Pool, PoolBusy, PoolFailed
from lmrun.tools.functions.process import ChildLost, FunctionProcess
from lmrun.tools.output import clean_output
from lmrun.tools.processes.endings import Ending, explain
from lmrun.tools.tool import ErrorKind, OnProgress, ToolResult, ToolSpec

log = logging.getLogger("lmrun.tools")


class FunctionTool:
    """`key`: what the profile calls it, and models do. `pool`: processes that have described it.

    When its file changes, the next call sees the new function, and `spec` what that is like.
    """

    def __init__(self, key: str, config: ToolConfig, pool: Pool) -> None:
        self._key = key
        self._config = config
        self._pool = pool
        self._seen: Described | None = None
        self._fault: str | None = None
        self._spec = _make_spec(key, config, None, {"type": "object"})

    @property
    def spec(self) -> ToolSpec:
        """The last one that was good."""
        self._look()
        return self._spec

    @property
    def fault(self) -> str | None:
        """Why it cannot be called as it is now."""
        self._look()
        return self._fault

    async def call(self, arguments: Mapping[str, Any], on_progress: OnProgress) -> ToolResult:
        """Call the function. Nothing is known of its progress. When this is cancelled, the process
        and whatever it has started are gone before the cancellation goes on."""
        try:
            async with self._pool.process(wait_s=self._config.timeout) as process:
                if self.fault is not None:
                    return self._fail("failed", f"It cannot be called: {self.fault}.")
                return await self._run(process, arguments)
        except PoolBusy as busy:
            return self._fail("timeout", f"It could not be called: {busy}.")
        except PoolFailed as failure:
            return self._fail("failed", f"It cannot be called: {failure}.")

    async def _run(self, process: FunctionProcess, arguments: Mapping[str, Any]) -> ToolResult:
        config = self._config
        call = Call(self._key, json.dumps(arguments), config.limits.cpu, config.max_output)
        try:
            async with asyncio.timeout(config.timeout):
                returned = await process.call(call)
        except TimeoutError:
            await process.end()
            report = f"It did not return within {config.timeout:g} s, and was ended."
            return self._fail("timeout", report, process.output)
        except ChildLost as lost:
            kind, report = self._explain(lost.ending)
            return self._fail(kind, report, lost.output)
        return self._tell(returned, process.output)

    def _tell(self, returned: Returned, output: str) -> ToolResult:
        if returned.trace is not None:
            log.warning("tool %s: %s", self._key, returned.trace.rstrip())
        if returned.error is not None:
            return self._fail(returned.error, returned.text, output)
        return ToolResult(returned.text, None, self._spec.is_untrusted, returned.size)

    def _fail(self, kind: ErrorKind, report: str, output: str = "") -> ToolResult:
        """What it printed helps to understand what went wrong."""
        text = f"{report}\nIt printed:\n{output.rstrip()}" if output.strip() else report
        shortened, size = clean_output(text, self._config.max_output)
        return ToolResult(shortened, kind, self._spec.is_untrusted, size)

    def _explain(self, ending: Ending) -> tuple[ErrorKind, str]:
        if ending.exceeded is None and ending.returncode is not None and ending.returncode >= 0:
            return "crashed", f"It ended its process with exit code {ending.returncode}."
        return explain(ending, self._config.limits)

    def _look(self) -> None:
        """Take over what a process has said since."""
        described = self._pool.described
        if described is None or described is self._seen:
            return
        self._seen = described
        found = described.functions.get(self._key)
        if found is None:
            self._fault = described.faults.get(self._key, "its process does not know it")
            return
        parameters = json.loads(found.parameters)
        self._fault = _find_fault(self._config, parameters)
        if self._fault is None:
            description = self._config.description or found.description
            self._spec = _make_spec(self._key, self._config, description, parameters)


def _find_fault(config: ToolConfig, parameters: Mapping[str, Any]) -> str | None:
    """What the profile says of parameters that the function does not have so."""
    function = str(config.python).partition(":")[2]
    for name in config.parameters:
        if name not in parameters["properties"]:
            return f"`parameters.{name}` is no parameter of `{function}`"
    for name in config.optional:
        if name not in parameters["properties"]:
            return f"`optional` names {name!r}, which is no parameter of `{function}`"
        if name in parameters["required"]:
            return f"`optional` names {name!r}, for which `{function}` has no default"
    return None


def _make_spec(
    key: str, config: ToolConfig, description: str | None, parameters: Mapping[str, Any]
) -> ToolSpec:
    """What the profile says of a parameter comes on top of what the function does."""
    properties = dict(parameters.get("properties", {}))
    for name, schema in config.parameters.items():
        if isinstance(schema, dict):
            properties[name] = {**properties.get(name, {}), **schema}
    return make_spec(key, config, description, {**parameters, "properties": properties})
