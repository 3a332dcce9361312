"""Who decides on a call of a response: the policy, then the client, as far as it wants to.

It knows no rule of the policy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lmrun.api.acting.kit import Kit
from lmrun.api.responses.conversation import Approved
from lmrun.api.responses.requests.mcp import McpTool
from lmrun.tools.policy.gate import Ask, Gate, Question, Reply, Verdict, Wish
from lmrun.tools.tool import ToolResult


@dataclass(slots=True)
class ClientGate:
    """A gate that asks by ending the response, so that a question is never answered in this run.

    `answers`: what the client has answered to the questions of an earlier one, by the call's id.
    `may_approve`: it may agree to what the policy asks about. `most_calls`: that are made; None:
    as many as the run has.
    """

    gate: Gate
    kit: Kit[McpTool]
    functions: Collection[str]
    answers: Mapping[str, Approved]
    may_approve: bool
    most_calls: int | None = None
    _made: int = 0

    async def decide(self, wish: Wish, ask: Ask | None) -> Verdict:
        name = wish.tool.name
        assert ask is not None, "a response can always ask"
        if name in self.functions:
            await ask(_make_question(wish, None))
        answer = self.answers.get(wish.id)
        if answer is not None and not answer.is_approved:
            return Verdict(False, answer.reason or "the user has declined")
        if self.most_calls is not None and self._made >= self.most_calls:
            return Verdict(False, f"at most {self.most_calls} calls may be made (`max_tool_calls`)")
        self._made += 1
        verdict = await self.gate.decide(wish, self._policy_ask(ask, answer))
        if verdict.is_allowed and answer is None and self._wants_to_be_asked(name):
            await ask(_make_question(wish, None))
        return verdict

    def note(self, wish: Wish, verdict: Verdict, result: ToolResult | None, seconds: float) -> None:
        self.gate.note(wish, verdict, result, seconds)

    def _policy_ask(self, ask: Ask, answer: Approved | None) -> Ask | None:
        if not self.may_approve:
            return None

        async def reply(question: Question) -> Reply:
            return "once" if answer is not None else await ask(question)

        return reply

    def _wants_to_be_asked(self, name: str) -> bool:
        offer = self.kit.offers.get(name)
        return offer is None or offer.source.info.needs_approval(offer.own_name)


async def never(question: Question) -> Reply:
    """The answer to a question comes with another request; this run ends before."""
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


def _make_question(wish: Wish, reason: str | None) -> Question:
    return Question(wish.id, wish.tool.path, wish.tool.description, dict(wish.arguments), reason)
