"""Plain Python functions as tools that run in this process. It knows no server."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lmrun.errors import InvalidParameter
from lmrun.tools.functions.describing import (
    ArgumentsUnfit,
    Function,
    FunctionUnfit,
    ResultUnfit,
    to_text,
)
from lmrun.tools.policy.gate import Ask, Verdict, Wish
from lmrun.tools.tool import OnProgress, Tool, ToolResult, ToolSpec


class Functions:
    """A toolset of functions. Raises InvalidParameter for one that cannot be a tool, and for two of
    one name."""

    def __init__(self, functions: Sequence[Callable[..., Any]]) -> None:
        self._tools: dict[str, Tool] = {}
        for index, function in enumerate(functions):
            tool = FunctionTool(_describe(index, function), _name(index, function))
            if tool.spec.name in self._tools:
                raise InvalidParameter(
                    f"tools[{index}]: there is a {tool.spec.name!r} already.",
                    param=f"tools[{index}]",
                    hint="Give each function a name of its own.",
                )
            self._tools[tool.spec.name] = tool

    async def tools(self) -> Sequence[Tool]:
        return tuple(self._tools.values())


class FunctionTool:
    """A function, called in a thread unless it is a coroutine function."""

    def __init__(self, function: Function, name: str) -> None:
        self._function = function
        self._spec = ToolSpec(name, name, function.description, function.parameters, policy="allow")

    @property
    def spec(self) -> ToolSpec:
        return self._spec

    async def call(self, arguments: Mapping[str, Any], on_progress: OnProgress) -> ToolResult:
        """What it returns, as text; what it raises, too. A function that runs in a thread cannot be
        stopped: cancelled, it is waited for."""
        try:
            read = self._function.read_arguments(arguments)
        except ArgumentsUnfit as error:
            return ToolResult(str(error), error="invalid_arguments")
        call = functools.partial(self._function.function, **read)
        try:
            if inspect.iscoroutinefunction(self._function.function):
                result = await call()
            else:
                result = await _call_in_thread(call)
            text = to_text(result)
        except ResultUnfit as error:
            return ToolResult(str(error), error="failed")
        except Exception as error:  # whatever the function raises is for the model to read
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return ToolResult(text, error="failed")
        return ToolResult(text, size=len(text.encode("utf-8", "replace")))


class Trust:
    """The gate of functions that the caller has written himself."""

    async def decide(self, wish: Wish, ask: Ask | None) -> Verdict:
        return Verdict(is_allowed=True)

    def note(self, wish: Wish, verdict: Verdict, result: ToolResult | None, seconds: float) -> None:
        """Nobody keeps a log here."""


async def _call_in_thread(call: Callable[[], Any]) -> Any:
    context = contextvars.copy_context()
    running = asyncio.get_running_loop().run_in_executor(None, context.run, call)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        # Nothing of a call may go on once the run has ended.
        await asyncio.wait({running})
        raise


def _describe(index: int, function: Callable[..., Any]) -> Function:
    try:
        return Function.of(_name(index, function), function)
    except FunctionUnfit as error:
        raise InvalidParameter(f"tools[{index}]: {error}.", param=f"tools[{index}]") from None


def _name(index: int, function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", None)
    if not callable(function) or not isinstance(name, str) or not name.isidentifier():
        raise InvalidParameter(
            f"tools[{index}]: it is neither a named function nor the name of a tool.",
            param=f"tools[{index}]",
            hint="Write `def`; a lambda has no name that a model could call.",
        )
    return name
