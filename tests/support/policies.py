"""Calls that somebody wants, for tests of the policy. It knows no rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lmrun.profile.tooling.policy import Decision, PolicyConfig
from lmrun.profile.tooling.tools import Effect
from lmrun.tools.policy.gate import Wish
from lmrun.tools.tool import Caller, ToolSpec

AT_THE_TERMINAL = Caller("cli", run="run-1")


def a_tool(
    path: str = "rm",
    policy: Decision = "ask",
    effects: Iterable[Effect] = ("write", "network"),
) -> ToolSpec:
    name = path.removeprefix("mcp/").replace("/", "__")
    return ToolSpec(path, name, f"Does {name}.", {}, policy, frozenset(effects))


def a_wish(
    tool: ToolSpec | None = None,
    arguments: Mapping[str, Any] | None = None,
    caller: Caller = AT_THE_TERMINAL,
    *,
    is_tainted: bool = False,
    id: str = "call-1",
) -> Wish:
    return Wish(id, tool or a_tool(), arguments or {}, caller, is_tainted)


def a_policy(*rules: Mapping[str, Any], taint: bool = True) -> PolicyConfig:
    return PolicyConfig.model_validate({"rules": list(rules), "taint": taint})
