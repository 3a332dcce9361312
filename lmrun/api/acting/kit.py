"""The tools that one request may use, and where each comes from. It knows no dialect."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lmrun.errors import InvalidParameter, McpUnreachable
from lmrun.tools.tool import Tool, Toolset

InfoT = TypeVar("InfoT")


@dataclass(frozen=True, slots=True)
class Source(Generic[InfoT]):
    """Tools that belong together. `info`: what the dialect says of them; `field`: where the request
    names them; `allowed`: the only ones that are offered, None: all."""

    toolset: Toolset
    info: InfoT
    field: str
    allowed: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class Offer(Generic[InfoT]):
    """A tool, under the name that its server has for it."""

    tool: Tool
    own_name: str
    source: Source[InfoT]


@dataclass(slots=True)
class Kit(Generic[InfoT]):
    """All tools of all sources. `offers`: every tool that was offered so far, by the name that the
    model calls it."""

    sources: Sequence[Source[InfoT]]
    offers: dict[str, Offer[InfoT]] = field(default_factory=dict)

    async def tools(self) -> Sequence[Tool]:
        """As they are now; of two with one name, the one that the request names first."""
        found: dict[str, Tool] = {}
        for source in self.sources:
            for offer in await find_offers(source):
                if offer.tool.spec.name not in found:
                    found[offer.tool.spec.name] = offer.tool
                    self.offers[offer.tool.spec.name] = offer
        return tuple(found.values())

    @property
    def untrusted(self) -> frozenset[str]:
        """Names of tools whose results may hold instructions."""
        return frozenset(name for name, it in self.offers.items() if it.tool.spec.is_untrusted)


async def find_offers(source: Source[InfoT]) -> list[Offer[InfoT]]:
    """The tools of a source that the request allows."""
    offers = [Offer(tool, own_name(tool), source) for tool in await source.toolset.tools()]
    return [it for it in offers if source.allowed is None or it.own_name in source.allowed]


def own_name(tool: Tool) -> str:
    """`mcp/time/get_current_time` → `get_current_time`."""
    return tool.spec.path.split("/", 2)[-1]


async def require_tools(source: Source[InfoT]) -> None:
    """Raises McpUnreachable where a source offers nothing, and InvalidParameter where it lacks a
    tool that the request allows."""
    names = [own_name(tool) for tool in await source.toolset.tools()]
    if not names:
        raise McpUnreachable(
            f"`{source.field}` offers no tools.",
            hint="Of a declared MCP server, `tools.allow` says which are offered; "
            "`lmrun mcp list` shows which nobody has approved.",
        )
    missing = [name for name in source.allowed or () if name not in names]
    if missing:
        raise InvalidParameter(
            f"`{source.field}.allowed_tools`: there is no tool {missing[0]!r}.",
            param=f"{source.field}.allowed_tools",
            hint=f"It offers {', '.join(sorted(names)[:20])}.",
        )
