"""The gate that the house uses: rules, questions, what was agreed to, the audit log. It knows no
tool and no door."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from lmrun.errors import StoreError
from lmrun.profile.loader import LoadedProfile
from lmrun.store.approvals import Approval, Approvals
from lmrun.tools.policy.applied import AppliedPolicy, make_policy
from lmrun.tools.policy.arguments import ArgumentsUnreadable, digest_arguments
from lmrun.tools.policy.audit import Answer, AuditedCall, AuditLog, Decided, Ended
from lmrun.tools.policy.gate import Ask, Question, Verdict, Wish
from lmrun.tools.policy.rules import Ruling, decide, is_risky
from lmrun.tools.policy.standing import NotTheSame, bring_up_to_date
from lmrun.tools.tool import Caller, ToolResult

ASK_TIMEOUT_S = 300.0
MAX_SESSION_REPLIES = 10_000

log = logging.getLogger("lmrun.tools")


class _Session(NamedTuple):
    """A run, of the client that has this key."""

    key: str | None
    run: str


@dataclass(frozen=True, slots=True)
class _Settled:
    is_allowed: bool
    answer: Answer | None
    reason: str


class PolicyGate:
    """One for the house; it belongs to the event loop. `find_loaded`: the applied profile.
    `find_model_key`: what the instance of that identifier is one of, None where there is none.
    `find_patience`: how long an answer is waited for in a run, None: as long as usual."""

    def __init__(
        self,
        find_loaded: Callable[[], LoadedProfile | None],
        approvals: Approvals,
        audit: AuditLog,
        *,
        find_model_key: Callable[[str], str | None] = lambda identifier: None,
        find_patience: Callable[[str | None], float | None] = lambda run: None,
        ask_timeout_s: float = ASK_TIMEOUT_S,
    ) -> None:
        self._find_loaded = find_loaded
        self._approvals = approvals
        self._audit = audit
        self._find_model_key = find_model_key
        self._find_patience = find_patience
        self._ask_timeout_s = ask_timeout_s
        self._session_replies: OrderedDict[tuple[_Session, Approval], None] = OrderedDict()
        self._loaded: LoadedProfile | None = None
        self._policy = make_policy(None)

    async def decide(self, wish: Wish, ask: Ask | None) -> Verdict:
        """Whether the call may be run. Waits for an answer where one is needed, a bounded time."""
        try:
            digest = digest_arguments(wish.arguments)
        except ArgumentsUnreadable:
            digest = None
        call = AuditedCall(wish.caller, wish.id, wish.tool.path, digest)
        is_settled = False
        while not is_settled:
            policy = self._find_policy()
            wish, ruling = self._rule(wish, policy, digest)
            try:
                settled = await self._settle(wish, ruling, ask, policy.root, digest)
                # Whoever was asked took their time, and another profile may be applied by now.
                denial = self._find_denial(wish, policy, digest)
                if denial is None:
                    await self._keep(settled, wish, policy.root, digest)
                    denial = self._find_denial(wish, policy, digest)
            except BaseException:
                given_up = _Settled(False, "no answer", "the call was given up")
                self._note(wish, call, ruling, given_up)
                raise
            # What was agreed to earlier was agreed to under the profile that was applied then.
            is_settled = settled.answer != "remembered" or policy is self._find_policy()
        if settled.is_allowed and denial is not None:
            ruling, settled = denial, _Settled(False, settled.answer, _explain(denial))
        self._note(wish, call, ruling, settled)

        def find_denial(wish: Wish = wish, policy: AppliedPolicy = policy) -> str | None:
            found = self._find_denial(wish, policy, digest)
            return None if found is None else _explain(found)

        return Verdict(settled.is_allowed, settled.reason, True, find_denial)

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

    def forget(self, run: str) -> None:
        """A run is over, and with it what was agreed to until then."""
        for it in [it for it in self._session_replies if it[0].run == run]:
            del self._session_replies[it]

    def _rule(self, wish: Wish, policy: AppliedPolicy, digest: str | None) -> tuple[Wish, Ruling]:
        """The wish with the tool as `policy` has it, and what that says about it."""
        if digest is None:
            return wish, Ruling("deny", "its arguments are nested too deeply")
        try:
            wish = replace(wish, tool=bring_up_to_date(wish.tool, policy.profile))
        except NotTheSame as gone:
            return wish, Ruling("deny", str(gone))
        caller = wish.caller
        key = self._find_model_key(caller.model) if caller.model is not None else None
        is_anonymous = _is_local_anonymous(caller)
        ruling = decide(wish, policy.config, is_local_anonymous=is_anonymous, model_key=key)
        return wish, ruling

    def _find_denial(self, wish: Wish, policy: AppliedPolicy, digest: str | None) -> Ruling | None:
        """Why another profile than that of `policy` denies the wish; None where it does not."""
        now = self._find_policy()
        if now is policy:
            return None
        _, again = self._rule(wish, now, digest)
        return again if again.decision == "deny" else None

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
        approval = _make_approval(wish, profile, digest)
        session = _find_session(wish.caller)
        if self._holds_for_session(session, approval) or await self._holds_always(approval):
            return _Settled(True, "remembered", "")
        if ask is None:
            return _Settled(False, "nobody", _say("nobody is there to ask", ruling))
        match await self._ask(wish, ruling, ask):
            case "once" | "session" | "always" as yes:
                return _Settled(True, yes, "")
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
            patience_s = self._find_patience(wish.caller.run)
            async with asyncio.timeout(patience_s or self._ask_timeout_s):
                return await ask(question)
        except TimeoutError:
            return None

    async def _keep(self, settled: _Settled, wish: Wish, profile: str, digest: str | None) -> None:
        """Remember what was agreed to just now, for as long as it was."""
        if settled.answer not in ("session", "always") or digest is None:
            return
        approval = _make_approval(wish, profile, digest)
        self._keep_for_session(_find_session(wish.caller), approval)
        if settled.answer == "always":
            await self._keep_always(approval)

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


def _make_approval(wish: Wish, profile: str, digest: str) -> Approval:
    return Approval(profile, wish.tool.path, digest, is_risky(wish))


def _find_session(caller: Caller) -> _Session | None:
    return _Session(caller.key, caller.run) if caller.run else None


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
