"""A chat's integrations, opened: their tools, and the run in which the model uses them.

It knows no stream and no conversation.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from lmrun.api.acting.kit import Kit, Source, require_tools
from lmrun.api.acting.rounds import Notebook, Rounds
from lmrun.api.acting.servers import check_headers, declared_tools, naming, open_declared, permit
from lmrun.api.acting.workshop import Workshop
from lmrun.api.client import current_client
from lmrun.api.http.record import current_record
from lmrun.api.lmstudio.v1.calls import EphemeralInfo, PluginInfo, ProviderInfo
from lmrun.api.lmstudio.v1.integrations import EphemeralMcp, Integration, Plugin
from lmrun.api.serving import Lease
from lmrun.chat.request import Request
from lmrun.errors import InvalidParameter
from lmrun.settings.prediction import PredictionConfig
from lmrun.tools.act.events import ActEvent
from lmrun.tools.act.loop import Limits, act
from lmrun.tools.mcp.ephemeral import Ephemeral, open_ephemeral
from lmrun.tools.tool import Caller, Toolset


@asynccontextmanager
async def open_kit(
    workshop: Workshop, integrations: Sequence[Integration]
) -> AsyncIterator[Kit[ProviderInfo] | None]:
    """The tools of all integrations while the block runs; None for a chat that names none.

    Raises Forbidden, InvalidParameter, and McpError for a server that offers nothing.
    """
    if not integrations:
        yield None
        return
    current_client().require("tools", "`integrations`")
    _refuse_twice(integrations)
    async with AsyncExitStack() as stack:
        kit = Kit([await _open(workshop, n, it, stack) for n, it in enumerate(integrations)])
        await kit.tools()
        yield kit


def run_chat(
    workshop: Workshop,
    lease: Lease,
    kit: Kit[ProviderInfo],
    request: Request,
    prediction: PredictionConfig,
    notebook: Notebook,
) -> AsyncGenerator[ActEvent, None]:
    """The events of a run with these tools, in which nobody is there to be asked."""
    record = current_record()
    caller = Caller(
        door="chat",
        key=record.key if record is not None else None,
        model=lease.instance.spec.identifier,
    )
    chosen = "max_tokens" in prediction.model_fields_set
    rounds = Rounds(lease.generate, prediction.max_tokens if chosen else None)
    return act(
        rounds,
        request,
        prediction,
        kit,
        gate=workshop.gate,
        caller=caller,
        limits=Limits(),
        journal=notebook,
    )


async def _open(
    workshop: Workshop, index: int, integration: Integration, stack: AsyncExitStack
) -> Source[ProviderInfo]:
    field = f"integrations[{index}]"
    if isinstance(integration, EphemeralMcp):
        with naming(integration.server_label, f"{field}.server_url"):
            toolset = await stack.enter_async_context(_reach(workshop, integration, field))
        info: ProviderInfo = EphemeralInfo(integration.server_label)
    else:
        toolset, info = await _find(workshop, integration, f"{field}.id")
    source = Source(toolset, info, field, integration.allowed_tools)
    await require_tools(source)
    return source


def _reach(
    workshop: Workshop, server: EphemeralMcp, field: str
) -> AbstractAsyncContextManager[Toolset]:
    headers = server.headers or {}
    check_headers(headers, f"{field}.headers")
    is_private = permit(workshop, server.server_url, f"{field}.server_url")
    return open_ephemeral(Ephemeral(server.server_label, server.server_url, headers, is_private))


async def _find(workshop: Workshop, plugin: Plugin, field: str) -> tuple[Toolset, PluginInfo]:
    kind, _, name = plugin.id.partition("/")
    if kind == "mcp":
        toolset = await open_declared(workshop, name, field)
    else:
        toolset = declared_tools(workshop, name or None, field)
    return toolset, PluginInfo(plugin.id)


def _refuse_twice(integrations: Sequence[Integration]) -> None:
    """Tools of two sources with one label could not be told apart."""
    labels = [
        it.server_label if isinstance(it, EphemeralMcp) else it.id.removeprefix("mcp/")
        for it in integrations
    ]
    for index, label in enumerate(labels):
        if label in labels[:index]:
            raise InvalidParameter(
                f"`integrations[{index}]`: {label!r} is there already.", param="integrations"
            )
