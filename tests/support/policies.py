"""Calls that somebody wants, who is asked, and a gate with a home of its own, for tests of the
policy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmrun.profile.loader import LoadedProfile
from lmrun.profile.tooling.policy import Decision, PolicyConfig
from lmrun.profile.tooling.tools import Effect
from lmrun.store.approvals import Approvals
from lmrun.tools.policy.audit import AuditLog
from lmrun.tools.policy.gate import Ask, Question, Reply, Verdict, Wish
from lmrun.tools.policy.policy_gate import PolicyGate
from lmrun.tools.tool import Caller, ToolSpec
from tests.profile.support import load

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


PROFILE = """\
version: 1
tools:
  rm: {command: [rm, "{path}"], parameters: {path: {type: string}}}
"""
DENYING = PROFILE + "policy: {rules: [{tools: [rm], decision: deny, reason: never}]}\n"
ALLOWING = PROFILE + "policy: {rules: [{tools: [rm], decision: allow}]}\n"


@dataclass
class Somebody:
    """Who answers `reply`, and remembers what was asked."""

    reply: Any = "once"
    asked: list[Question] = field(default_factory=list)

    async def __call__(self, question: Question) -> Reply:
        self.asked.append(question)
        return self.reply  # type: ignore[no-any-return]  # also what is no reply


@dataclass
class House:
    """A gate with a home of its own, under a profile that can be replaced. `keys`: of models, by
    the identifiers of what is loaded."""

    folder: Path
    loaded: LoadedProfile | None = field(default_factory=lambda: load(PROFILE))
    timeout_s: float = 5.0
    keys: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.approvals = Approvals(self.folder / "approvals.db")
        self.audit = AuditLog(self.folder / "audit.jsonl")
        self.gate = PolicyGate(
            lambda: self.loaded,
            self.approvals,
            self.audit,
            find_model_key=lambda identifier: self.keys.get(identifier),
            ask_timeout_s=self.timeout_s,
        )

    def stop(self) -> None:
        self.approvals.close()
        self.audit.close()

    def decide(self, wish: Wish, ask: Ask | None = None) -> Verdict:
        return asyncio.run(self.gate.decide(wish, ask))

    def lines(self) -> list[dict[str, Any]]:
        text = (self.folder / "audit.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]
