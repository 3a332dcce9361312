"""The tools of the house, wired: what was agreed to, the gate, MCP servers, runs, and their doors.

It knows neither profile nor port; what is applied, and the models, are handed in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lmrun.api.act.routes import make_act_routes
from lmrun.api.agents.pool import AgentPool
from lmrun.api.control.elicitations import elicitation_routes
from lmrun.api.control.mcp import mcp_routes
from lmrun.api.mcp.door import McpDoor
from lmrun.api.mcp.routes import make_mcp_routes
from lmrun.api.routes import Route
from lmrun.api.serving import Pool
from lmrun.profile.loader import LoadedProfile
from lmrun.profile.schema import Profile
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.reconcile.status import ToolTrouble
from lmrun.store.approvals import Approvals
from lmrun.store.home import Home
from lmrun.store.mcp_pins import McpPins
from lmrun.store.mcp_secrets import McpSecrets
from lmrun.store.runs import StoredRuns
from lmrun.tools.act.runs import Runs
from lmrun.tools.mcp.answering.elicitations import Elicitations
from lmrun.tools.mcp.desk import McpDesk
from lmrun.tools.mcp.lazy_host import LazyMcpHost
from lmrun.tools.mcp.oauth.credentials import Credentials
from lmrun.tools.mcp.pins.approvals import Approvals as McpApprovals
from lmrun.tools.mcp.pins.identity import Written, find_written
from lmrun.tools.mcp.pins.locking import ServerPinner
from lmrun.tools.models import Generate
from lmrun.tools.policy.audit import AuditLog
from lmrun.tools.policy.policy_gate import PolicyGate
from lmrun.tools.troubles import find_troubles
from lmrun.tools.workshop import Workshop

if TYPE_CHECKING:
    from lmrun.tools.mcp.host import McpHost

FindLoaded = Callable[[], LoadedProfile | None]


class PoolModels:
    """Models for runs and MCP servers, each held by a lease."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def open(self, model: str) -> AsyncIterator[Generate]:
        """Raises what `Pool.acquire` raises."""
        async with self._pool.acquire(model) as lease:
            yield lease.generate


class Workbench:
    """`find_loaded`: the profile that is applied. `environment`: the server's own. `until_settled`
    returns when the models of a profile that was restored can be asked. `on_change`: what can be
    seen of MCP servers has changed."""

    def __init__(
        self,
        home: Home,
        environment: Mapping[str, str],
        pool: Pool,
        find_loaded: FindLoaded,
        until_settled: Callable[[], Awaitable[None]],
        on_change: Callable[[], None],
    ) -> None:
        self._find_loaded = find_loaded
        self._until_settled = until_settled
        self._approvals = Approvals(home.approvals)
        self._pins = McpPins(home.mcp_pins)
        self._stored_runs = StoredRuns(home.runs)
        self._audit = AuditLog(home.audit_log)
        models = PoolModels(pool)
        consent = McpApprovals(self._pins, environment, self._find_root, self._find_written)
        credentials = Credentials(McpSecrets(home.mcp_secrets), self._find_root)
        self.gate = PolicyGate(
            find_loaded,
            self._approvals,
            self._audit,
            find_model_key=lambda name: _find_model_key(pool, name),
            find_patience=lambda run: self.runs.find_patience(run),
        )
        self._elicitations = Elicitations()

        def make_host() -> McpHost:
            from lmrun.tools.mcp.host import McpHost
            from lmrun.tools.mcp.oauth.bearer import auth_maker

            return McpHost(
                environment,
                models,
                consent,
                elicit=self._elicitations.ask,
                make_auth=auth_maker(credentials),
                on_change=on_change,
            )

        mcp = LazyMcpHost(make_host)
        self.workshop = Workshop(mcp, self.gate, environment, self._find_profile)
        self.pool = AgentPool(pool, self.workshop)
        self.runs = Runs(
            models,
            self.workshop.toolset,
            self.gate,
            self._stored_runs,
            self._find_profile,
            sources_for=self.workshop.sources,
            on_end=self.gate.forget,
            attend=self._elicitations.attending,
        )
        self.pin_servers = ServerPinner(self._pins, environment).pin_present
        self._server = McpDoor(self.pool, self.workshop)
        self._desk = McpDesk(mcp, consent, credentials, find_loaded)

    @property
    def public_routes(self) -> tuple[Route, ...]:
        """Of the HTTP port."""
        return (*make_act_routes(self.runs), *make_mcp_routes(self._server))

    @property
    def control_routes(self) -> tuple[Route, ...]:
        """Of the unix socket."""
        return (
            *make_act_routes(self.runs),
            # For `lmrun mcp serve`.
            *make_mcp_routes(self._server),
            *mcp_routes(self._desk),
            *elicitation_routes(self._elicitations),
        )

    def troubles(self) -> tuple[ToolTrouble, ...]:
        """What keeps declared tools from being used now."""
        servers = self.workshop.mcp.statuses().values()
        found = find_troubles(self.workshop.faults, servers)
        return tuple(ToolTrouble(it.subject, it.reason, it.message) for it in found)

    def stop_following(self) -> None:
        """End the streams that only a client would end."""
        self._elicitations.close()

    async def serve(self) -> None:
        """Answer clients of lmrun's own MCP server, until cancelled."""
        await self._server.run()

    async def take_up(self) -> None:
        """Go on with what a server before this one left in the background. Raises StoreError."""
        await self._until_settled()
        await self.runs.open()

    async def interrupt(self) -> None:
        """Stop every run; the next server can go on with them."""
        await self.runs.close()

    async def close(self) -> None:
        """Stop runs and tools, and keep what there is to keep; nothing may follow."""
        await self.runs.close()
        await self.workshop.close()
        for store in (self._approvals, self._pins, self._stored_runs, self._audit):
            store.close()

    def _find_root(self) -> Path | None:
        loaded = self._find_loaded()
        return loaded.root if loaded is not None else None

    def _find_written(self, server: str, config: McpServerConfig) -> Written | None:
        loaded = self._find_loaded()
        if loaded is None or loaded.profile.mcp_servers.get(server) != config:
            return None
        return find_written(loaded.written, server)

    def _find_profile(self) -> Profile | None:
        loaded = self._find_loaded()
        return loaded.profile if loaded is not None else None


def _find_model_key(pool: Pool, identifier: str) -> str | None:
    instance = pool.instances.get(identifier)
    return instance.spec.model_key if instance is not None else None
