"""The gate that the house uses: rules, questions, what was agreed to, the audit log. It knows no
tool and no door."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from lmrun.errors import StoreError
from lmrun.profile.loader import LoadedProfile
from lmrun.store.approvals import Approval, Approvals
from lmrun.tools.policy.applied import AppliedPolicy, make_policy
from lmrun.tools.policy.arguments import ArgumentsUnreadable, digest_arguments
from lmrun.tools.policy.audit import Answer, AuditedCall, AuditLog, Decided, Ended
from lmrun.tools.policy.gate import Ask, Question, Verdict, Wish
from lmrun.tools.policy.rules import Ruling, decide, is_risky
from lmrun.tools.tool import Caller, ToolResult

ASK_TIMEOUT_S = 300.0
SESSION_LABEL = "session"
"""The label of a caller that tells one chat from others; without it, a run is a session."""

MAX_SESSION_REPLIES = 10_000

log = logging.getLogger("lmrun.tools")


class _Session(NamedTuple):
    """A name that a client chose means nothing to other clients."""

    key: str | None
    name: str


@dataclass(frozen=True, slots=True)
class _Settled:
    is_allowed: bool
    answer: Answer | None
    reason: str


class PolicyGate:
    """One for the house; it belongs to the event loop. `find_loaded`: the applied profile."""

    def __init__(
        self,
        find_loaded: Callable[[], LoadedProfile | None],
        approvals: Approvals,
        audit: AuditLog,
        *,
        ask_timeout_s: float = ASK_TIMEOUT_S,
    ) -> None:
        self._find_loaded = find_loaded
        self._approvals = approvals
        self._audit = audit
        self._ask_timeout_s = ask_timeout_s
        self._session_replies: OrderedDict[tuple[_Session, Approval], None] = OrderedDict()
        self._loaded: LoadedProfile | None = None
        self._policy = make_policy(None)

    async def decide(self, wish: Wish, ask: Ask | None) -> Verdict:
        """Whether the call may be run. Waits for an answer where one is needed, a bounded time."""
        policy = self._find_policy()
        ruling = self._rule(wish)
        try:
            digest = digest_arguments(wish.arguments)
        except ArgumentsUnreadable:
            digest, ruling = None, Ruling("deny", "its arguments are nested too deeply")
        call = AuditedCall(wish.caller, wish.id, wish.tool.path, digest)
        try:
            settled = await self._settle(wish, ruling, ask, policy.profile, digest)
        except BaseException:
            self._note(wish, call, ruling, _Settled(False, "no answer", "the call was given up"))
            raise
        if settled.is_allowed and policy is not self._find_policy():
            # Whoever was asked took their time, and another profile was applied meanwhile.
            again = self._rule(wish)
            if again.decision == "deny":
                ruling, settled = again, _Settled(False, settled.answer, _explain(again))
        self._note(wish, call, ruling, settled)
        return Verdict(settled.is_allowed, settled.reason, is_noted=True)

    def note(self, wish: Wish, verdict: Verdict, result: ToolResult | None, seconds: float) -> None:
        """Write down what became of a call. Of a denied one there is no more to say than `decide`
        has said, unless somebody else denied it."""
        if not verdict.is_allowed and verdict.is_noted:
            return
        try:
            digest = digest_arguments(wish.arguments)
        except ArgumentsUnreadable:
            digest = None
        call = AuditedCall(wish.caller, wish.id, wish.tool.path, digest)
        if not verdict.is_allowed:
            denied = Decided("deny", False, verdict.reason, is_tainted=wish.is_tainted)
            self._audit.note_decision(call, denied)
            return
        error = "cancelled" if result is None else result.error
        ended = Ended(error, 0 if result is None else result.size, seconds)
        self._audit.note_end(call, ended)

    def forget_session(self, session: str) -> None:
        """A run or a chat is over, and with it what was agreed to until then."""
        for it in [it for it in self._session_replies if it[0].name == session]:
            del self._session_replies[it]

    def _rule(self, wish: Wish) -> Ruling:
        config = self._find_policy().config
        return decide(wish, config, is_local_anonymous=_is_local_anonymous(wish.caller))

    def _find_policy(self) -> AppliedPolicy:
        loaded = self._find_loaded()
        if loaded is not self._loaded:
            self._loaded, self._policy = loaded, make_policy(loaded)
        return self._policy

    async def _settle(
        self, wish: Wish, ruling: Ruling, ask: Ask | None, profile: str, digest: str | None
    ) -> _Settled:
        if ruling.decision == "allow":
            return _Settled(True, None, "")
        if ruling.decision == "deny" or digest is None:
            return _Settled(False, None, _explain(ruling))
        approval = Approval(profile, wish.tool.path, digest, is_risky(wish))
        session = _find_session(wish.caller)
        if self._holds_for_session(session, approval) or await self._holds_always(approval):
            return _Settled(True, "remembered", "")
        if ask is None:
            return _Settled(False, "nobody", _say("nobody is there to ask", ruling))
        match await self._ask(wish, ruling, ask):
            case "once":
                return _Settled(True, "once", "")
            case "session":
                self._keep_for_session(session, approval)
                return _Settled(True, "session", "")
            case "always":
                self._keep_for_session(session, approval)
                await self._keep_always(approval)
                return _Settled(True, "always", "")
            case None:
                return _Settled(False, "no answer", _say("nobody answered in time", ruling))
        return _Settled(False, "no", "whoever was asked said no")

    async def _ask(self, wish: Wish, ruling: Ruling, ask: Ask) -> Answer | None:
        """None: no answer in time."""
        tool = wish.tool
        question = Question(
            wish.id, tool.path, tool.description, dict(wish.arguments), ruling.reason or None
        )
        try:
            async with asyncio.timeout(self._ask_timeout_s):
                return await ask(question)
        except TimeoutError:
            return None

    def _holds_for_session(self, session: _Session | None, approval: Approval) -> bool:
        if session is None:
            return False
        knowing = Approval(approval.profile, approval.tool, approval.arguments, is_tainted=True)
        return any((session, it) in self._session_replies for it in (approval, knowing))

    def _keep_for_session(self, session: _Session | None, approval: Approval) -> None:
        if session is None:
            return
        self._session_replies[session, approval] = None
        self._session_replies.move_to_end((session, approval))
        while len(self._session_replies) > MAX_SESSION_REPLIES:
            self._session_replies.popitem(last=False)

    async def _holds_always(self, approval: Approval) -> bool:
        try:
            return await asyncio.to_thread(self._approvals.holds, approval)
        except StoreError as error:
            log.error("what was always agreed to is asked for again: %s", error)
            return False

    async def _keep_always(self, approval: Approval) -> None:
        try:
            await asyncio.to_thread(self._approvals.add, approval)
        except StoreError as error:
            log.error("an agreement holds until the run ends, not always: %s", error)

    def _note(self, wish: Wish, call: AuditedCall, ruling: Ruling, settled: _Settled) -> None:
        self._audit.note_decision(
            call,
            Decided(
                ruling.decision,
                settled.is_allowed,
                settled.reason or ruling.reason,
                ruling.rule,
                settled.answer,
                wish.is_tainted,
            ),
        )


def _find_session(caller: Caller) -> _Session | None:
    name = caller.labels.get(SESSION_LABEL) or caller.run
    return _Session(caller.key, name) if name else None


def _is_local_anonymous(caller: Caller) -> bool:
    """Anything on this machine can call without a key; only at the terminal, and where a client
    answers an approval request of its own dialect, is somebody who can be asked."""
    if caller.key is not None or caller.door == "cli":
        return False
    return caller.agent is not None or caller.door != "responses"


def _explain(ruling: Ruling) -> str:
    """Why it is denied."""
    return ruling.reason or "the profile denies this tool"


def _say(why: str, ruling: Ruling) -> str:
    needs = f"it needs somebody's agreement, and {why}"
    return f"{needs} ({ruling.reason})" if ruling.reason else needs
