"""One declared server, supervised by itself: started when it is needed and may be, started again
when it fails, ended with the profile that declares it. It knows no other server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path

from lmrun.errors import LmrunError, McpNotApproved, McpProtocol, McpUnreachable
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.tools.mcp.answering.answers import Answers
from lmrun.tools.mcp.answering.elicitation import Elicitor
from lmrun.tools.mcp.answering.sampling import Sampler
from lmrun.tools.mcp.cleaning import clean_line
from lmrun.tools.mcp.connection import Connection, OpenLink, Transport, connect
from lmrun.tools.mcp.consent import Fault, ToolDefinition
from lmrun.tools.mcp.deadlines import Deadlines
from lmrun.tools.mcp.explaining import explain_call, explain_start, is_timeout
from lmrun.tools.mcp.status import Counters, ServerStatus, State
from lmrun.tools.mcp.surroundings import Surroundings, session_key
from lmrun.tools.mcp.transport.launching import plan_launch
from lmrun.tools.mcp.transport.remote import RemoteLink
from lmrun.tools.mcp.transport.stdio import StdioLink

LISTING_MAX_AGE_S = 60.0
"""Not every server says so when its tools change."""
RELISTING_PAUSE_S = 0.2
PATIENCE_S = 5.0
"""Whoever needs a server waits for its next start if that is no longer away."""
AWAITED_STARTS = 2
"""That fail, until nobody waits for the next one any more; one that took too long is enough."""
MAX_SILENT_CALLS = 3
"""Calls in a row without an answer, after which a server is started again."""
_LOSS_S = 2.0

log = logging.getLogger("lmrun.tools.mcp")


class McpServer:
    """`adopt` gives it a new configuration where that needs no new session."""

    def __init__(
        self, name: str, config: McpServerConfig, directory: Path, surroundings: Surroundings
    ) -> None:
        self.name = name
        self.config = config
        self.state: State = "stopped"
        self.error: LmrunError | None = None
        self.deadlines = Deadlines()
        self.has_resources = False
        """Whether it said so when its session began."""
        self.does_tasks = False
        """Likewise."""
        self._directory = directory
        self._surroundings = surroundings
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._is_closed = False
        self._connection: Connection | None = None
        self._transport: Transport | None = None
        self._sampler: Sampler | None = None
        self._is_legacy = False
        self._starts = 0
        self._failures = 0
        self._failed_starts = 0
        self._failure: LmrunError | None = None
        self._retry_at = 0.0
        self._silent_calls = 0
        self._given_up: str | None = None
        self._definitions: tuple[ToolDefinition, ...] = ()
        self._listed_at = 0.0
        self._stale = asyncio.Event()
        self._woken = asyncio.Event()
        self._listing_turn = asyncio.Lock()

    async def connection(self) -> Connection:
        """Its session; begun where there is none. Raises McpNotApproved, McpUnreachable,
        McpProtocol, OutboundRefused and OutboundFailed."""
        self._need()
        deadline = _now() + self.config.start_timeout + PATIENCE_S
        while not self._is_closed:
            if self._connection is not None and not self._connection.lost.is_set():
                return self._connection
            if self._failure is not None and self._is_hopeless():
                raise self._failure
            changed = self._changed
            try:
                async with asyncio.timeout_at(deadline):
                    await changed.wait()
            except TimeoutError:
                raise McpUnreachable(f"The MCP server {self.name} is not ready yet.") from None
        raise McpUnreachable(f"The MCP server {self.name} is not declared any more.")

    async def definitions(self) -> tuple[ToolDefinition, ...]:
        """Its tools as it lists them now. Raises what `connection` raises."""
        connection = await self.connection()
        async with self._listing_turn:
            if self._stale.is_set() or _now() - self._listed_at > LISTING_MAX_AGE_S:
                await self._list(connection)
        return self._definitions

    @property
    def known_definitions(self) -> tuple[ToolDefinition, ...]:
        """Those that it listed last, whether it still runs or not."""
        return self._definitions

    @property
    def is_listed(self) -> bool:
        """Whether it has ever said which tools it has."""
        return self._listed_at > 0

    @property
    def malformed_tools(self) -> list[tuple[str, Fault]]:
        """Those that it lists and nobody could call, by name."""
        guard = self._transport.guard if self._transport is not None else None
        found = guard.malformed_tools if guard is not None else {}
        return [(tool, Fault("schema", clean_line(why, 300))) for tool, why in found.items()]

    def may_use(self, definition: ToolDefinition) -> Fault | None:
        """Whether somebody has agreed to the tool as it is."""
        return self._surroundings.consent.may_use(self.name, definition)

    def note_change(self) -> None:
        """Its tools are no longer those that it has listed."""
        self._stale.set()

    def note_call(self, *, was_silent: bool) -> None:
        """A call had an answer, or none in time. One that stays silent is started again."""
        self._silent_calls = self._silent_calls + 1 if was_silent else 0
        if self._silent_calls >= MAX_SILENT_CALLS:
            self.give_up("It does not answer any more.")

    def give_up(self, reason: str) -> None:
        """End the session, which is of no use any more; it is begun again."""
        self._silent_calls = 0
        if self._connection is not None:
            self._given_up = reason
            self._connection.lost.set()

    async def describe_loss(self) -> str:
        """Why the session was lost, once that is known; of one that was just lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOSS_S):
                while self.state == "ready":
                    await self._changed.wait()
        return str(self.error) if self.error is not None else "It was ended."

    async def adopt(self, config: McpServerConfig, directory: Path) -> bool:
        """Whether it can go on with another configuration. Its session stays if so."""
        if session_key(config, directory) != session_key(self.config, self._directory):
            return False
        had_roots = self.config.roots
        self.config = config
        if self._sampler is not None:
            self._sampler.timeout_s = config.timeout
        if config.roots != had_roots and self._connection is not None:
            await self._connection.tell_roots_changed()
        return True

    async def look(self) -> None:
        """Learn whether it may be started before anybody needs it, or still may run: another
        profile, to which nobody has agreed, may declare it the same."""
        consent = self._surroundings.consent
        fault = await asyncio.to_thread(consent.may_start, self.name, self.config, self._directory)
        if fault is not None and self.state == "stopped":
            self._set("needs_approval", McpNotApproved(fault.message, hint=fault.hint))
        elif fault is not None:
            self.give_up("Nobody agrees to it any more.")
        elif self.state == "needs_approval":
            self._set("stopped", None)

    def recheck(self) -> None:
        """Somebody has agreed to something, or no longer does."""
        if self.state in ("needs_approval", "failed"):
            self._failures = self._failed_starts = 0
            self._set("stopped", None)
        elif self.state in ("starting", "backing_off"):
            # A start that goes on may still be one with what was known before.
            self._failures = self._failed_starts = 0
            self._retry_at = _now()
            self._woken.set()
        elif self._surroundings.consent.may_start(self.name, self.config, self._directory):
            self.give_up("Nobody agrees to it any more.")

    async def close(self) -> None:
        """End it for good."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._set("stopped", None)

    def status(self) -> ServerStatus:
        """What can be seen of it, but for its tools."""
        transport, connection = self._transport, self._connection
        link = transport.link if transport is not None else None
        is_waiting = self.state in ("failed", "backing_off")
        is_again = self.state == "starting" and self._failed_starts > 0
        error = self.error or (self._failure if is_again else None)
        return ServerStatus(
            name=self.name,
            state=self.state,
            protocol_version=connection.protocol_version if connection is not None else None,
            pid=link.pid if link is not None and self.state in ("starting", "ready") else None,
            restarts=max(0, self._starts - 1),
            retry_in_s=max(0.0, self._retry_at - _now()) if is_waiting else None,
            error=str(error) if error is not None else None,
            counters=transport.guard.counters if transport is not None else Counters(),
            tokens_sampled=self._sampler.spent if self._sampler is not None else 0,
            stderr_tail=link.stderr_tail if link is not None else "",
        )

    def _need(self) -> None:
        """Have it started, unless it is, or may not be."""
        is_at_rest = self._task is None or self._task.done()
        if self._is_closed or not is_at_rest:
            return
        if self.state == "failed" and _now() < self._retry_at:
            return
        if self._may_start():
            self._set("starting", None)
            self._task = asyncio.create_task(self._run(), name=f"mcp-{self.name}")

    def _is_hopeless(self) -> bool:
        """Whether nobody should wait for its next start."""
        if self._failed_starts >= AWAITED_STARTS:
            return True
        if self.state == "backing_off":
            return self._retry_at - _now() > PATIENCE_S
        return self.state in ("needs_approval", "failed")

    def _may_start(self) -> bool:
        try:
            fault = self._surroundings.consent.may_start(self.name, self.config, self._directory)
        except LmrunError as error:
            self._set("failed", error)
            return False
        if fault is not None:
            self._set("needs_approval", McpNotApproved(fault.message, hint=fault.hint))
        return fault is None

    async def _run(self) -> None:
        """Sessions one after the other, until one may not or need not be begun."""
        try:
            while self._may_start():
                self._set("starting", None)
                began = await self._serve()
                ran_s = _now() - began if began is not None else 0.0
                self._failures = self._surroundings.backoff.count(self._failures, ran_s)
                delay_s = self._surroundings.backoff.delay_s(self._failures)
                self._retry_at = _now() + delay_s
                was_open = self._transport is not None and self._transport.link is not None
                if not was_open or self._failures >= self._surroundings.backoff.most:
                    self._set("failed", self.error)
                    return
                self._set("backing_off", self.error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay_s):
                        await self._woken.wait()
                self._woken.clear()
        finally:
            self._connection = None

    async def _serve(self) -> float | None:
        """One session, from its beginning to its end; when it was ready, if it was."""
        transport = self._transport = Transport(self._open_link)
        self._starts += 1
        began: float | None = None
        try:
            async with connect(
                transport,
                self._make_answers(),
                is_legacy=self._is_legacy,
                timeout_s=self.config.start_timeout,
            ) as connection:
                await self._list(connection)
                self.has_resources = connection.has_resources
                self.does_tasks = connection.tasks.is_offered
                self._connection, began = connection, _now()
                self._given_up, self._failed_starts = None, 0
                self._set("ready", None)
                await self._stay(connection)
                why = self._given_up or f"The session ended: {await connection.describe_end()}."
                # Whoever waits for an answer is told before everything is cleared away.
                self._set("starting", McpUnreachable(why))
        except Exception as error:
            link = transport.link
            refusal = link.refusal if link is not None else None
            stderr = link.stderr_tail if link is not None else ""
            self.error = explain_start(
                error,
                self.config.start_timeout,
                refusal,
                stderr,
                is_declared=self._surroundings.are_declared,
            )
            self._failed_starts += AWAITED_STARTS if is_timeout(error) else 1
            # Some older servers end when they are asked something that they do not know.
            self._is_legacy = not self._is_legacy and began is None
        finally:
            self._connection = None
        log.warning("MCP server %s: %s", self.name, self.error)
        return began

    async def _stay(self, connection: Connection) -> None:
        """Until the session is lost; tools that changed are listed again."""
        while not connection.lost.is_set():
            waits = [asyncio.ensure_future(it.wait()) for it in (connection.lost, self._stale)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            if connection.lost.is_set():
                return
            pause_s = RELISTING_PAUSE_S
            try:
                await self.definitions()
            except LmrunError:
                pause_s = PATIENCE_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await connection.lost.wait()

    async def _list(self, connection: Connection) -> None:
        self._stale.clear()
        try:
            async with asyncio.timeout(self.config.start_timeout):
                listed = await connection.list_tools()
        except Exception as error:
            self._stale.set()
            if connection.lost.is_set():
                raise McpUnreachable("It was gone while it was asked for its tools.") from None
            kind, text = explain_call(error)
            raise (McpUnreachable if kind == "timeout" else McpProtocol)(
                f"It could not list its tools: {text}"
            ) from error
        # What has not changed stays the same object: what was found of it is found again.
        known = {it.name: it for it in self._definitions}
        self._definitions = tuple(
            known[it.name] if known.get(it.name) == it else it for it in listed
        )
        self._listed_at = _now()
        self._surroundings.on_change()

    async def _open_link(self) -> OpenLink:
        config = self.config
        if config.command is None:
            return await RemoteLink.open(config, self._surroundings.make_auth(self.name, config))
        launch = plan_launch(config, self._directory, self._surroundings.environment)
        return await StdioLink.start(launch)

    def _make_answers(self) -> Answers:
        config, surroundings = self.config, self._surroundings
        if config.sampling is not None and self._sampler is None:
            # For all sessions: a server that ends itself has no new budget.
            self._sampler = Sampler(config.sampling, surroundings.models, config.timeout)
        elicitor = Elicitor(self.name, surroundings.elicit, find_runs=lambda: self.deadlines.runs)
        return Answers(
            server=self.name,
            sampler=self._sampler,
            elicitor=elicitor if config.elicitation else None,
            find_roots=self._find_roots if config.roots else None,
            deadlines=self.deadlines,
            on_change=self.note_change,
        )

    def _find_roots(self) -> tuple[Path, ...]:
        return tuple(Path(os.path.normpath(self._directory / it)) for it in self.config.roots)

    def _set(self, state: State, error: LmrunError | None) -> None:
        self.state, self.error = state, error
        self._failure = error or self._failure
        self._changed.set()
        self._changed = asyncio.Event()
        self._surroundings.on_change()


def _now() -> float:
    return asyncio.get_running_loop().time()
