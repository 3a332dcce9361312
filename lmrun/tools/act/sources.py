"""Reading what a run begins with, as far as the policy lets it. It knows no server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from lmrun.chat.messages import Message
from lmrun.errors import Forbidden, LmrunError, McpNotFound
from lmrun.tools.act.opening import Opened, Opening, join_opened, require_room, weave
from lmrun.tools.calling import calling_for
from lmrun.tools.policy.gate import Ask, Gate, Wish
from lmrun.tools.tool import Caller, ToolResult, ToolSpec


class Source(Protocol):
    """Something that can be read before a run's first round."""

    @property
    def reference(self) -> str:
        """As a profile names it: `mcp/docs/note://hello`."""

    @property
    def spec(self) -> ToolSpec:
        """Reading it as the policy sees it: a call of this tool, with `arguments`."""

    @property
    def arguments(self) -> Mapping[str, Any]: ...

    async def read(self) -> Opened:
        """Read it. Raises McpError, OutboundRefused and OutboundFailed, which say what it is."""
        ...


MakeAsk = Callable[[int], Ask | None]


def no_sources(opening: Opening) -> Sequence[Source]:
    """Where there are no MCP servers. Raises McpNotFound where something is to be read."""
    if not opening.is_empty:
        raise McpNotFound("There are no MCP servers here to read from.")
    return ()


async def read_sources(
    sources: Sequence[Source],
    messages: tuple[Message, ...],
    *,
    gate: Gate,
    caller: Caller,
    clock: Callable[[], float],
    make_ask: MakeAsk = lambda place: None,
) -> Opened:
    """All of `sources`, one after the other, for the conversation `messages`. `make_ask`: who is
    asked about the one at that place, None: nobody is there. `clock`: in seconds.

    Raises Forbidden for what the policy denies, McpUnusable for too much of it, and what reading
    raises."""
    found: list[Opened] = []
    for place, source in enumerate(sources):
        # Whoever wants it has named it: nothing that was read so far can have asked for it.
        wish = Wish(f"opening_{place}", source.spec, source.arguments, caller)
        found.append(await _read(source, wish, gate, make_ask(place), clock))
    opened = join_opened(found)
    require_room(weave(messages, opened))
    return opened


async def _read(
    source: Source, wish: Wish, gate: Gate, ask: Ask | None, clock: Callable[[], float]
) -> Opened:
    verdict = await gate.decide(wish, ask)
    if not verdict.is_allowed:
        gate.note(wish, verdict, None, 0.0)
        raise Forbidden(
            f"{source.reference} was not read: {verdict.reason or 'the profile denies it'}.",
            hint=f"`policy` in the profile decides about it, as about the tool {wish.tool.path}.",
        )
    begun = clock()
    result: ToolResult | None = None
    try:
        with calling_for(wish.caller.run):
            opened = await source.read()
        result = ToolResult("", is_untrusted=opened.is_untrusted, size=opened.size)
    except LmrunError as error:
        result = ToolResult(error.message, "failed")
        raise
    finally:
        gate.note(wish, verdict, result, clock() - begun)
    return opened
