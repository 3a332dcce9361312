"""MCP servers that a request names: those of the profile, and ones that it brings along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from lmrun.api.acting.workshop import Workshop
from lmrun.errors import (
    Forbidden,
    InvalidParameter,
    McpError,
    OutboundFailed,
    OutboundRefused,
    ToolInvalid,
)
from lmrun.profile.schema import Profile
from lmrun.settings.outbound import DEFAULT_PORTS, AllowedHost, plain_host
from lmrun.tools.http.urls import safe_to_open
from lmrun.tools.mcp.renaming import renamed
from lmrun.tools.tool import Toolset

MAX_HEADERS = 32
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept"})
"""Headers that make up the request itself."""


@contextmanager
def naming(server: str, field: str) -> Iterator[None]:
    """Errors of a server say which one it is, and where the request names it."""
    try:
        yield
    except (McpError, OutboundFailed, OutboundRefused) as error:
        message = f"`{field}`: MCP server {server!r}: {error.message}"
        raise renamed(error, message) from None


async def open_declared(workshop: Workshop, name: str, field: str) -> Toolset:
    """The tools of the profile's server, which runs. Raises InvalidParameter where there is none,
    and what starting it raises."""
    servers = _profile(workshop).mcp_servers
    if name not in servers:
        known = ", ".join(sorted(servers))
        raise InvalidParameter(
            f"`{field}`: the profile declares no MCP server {name!r}.",
            param=field,
            hint=f"It declares {known}." if known else "Declare it under `mcp_servers`.",
        )
    with naming(name, field):
        await workshop.mcp.definitions(name)
    return workshop.toolset((f"mcp/{name}/*",))


def declared_tools(workshop: Workshop, name: str | None, field: str) -> Toolset:
    """The profile's own tools, or the one called `name`. Raises InvalidParameter where there is
    none, ToolInvalid where it is declared and could not be had."""
    tools = _profile(workshop).tools
    if name is not None and name not in tools:
        known = ", ".join(sorted(tools))
        raise InvalidParameter(
            f"`{field}`: the profile declares no tool {name!r}.",
            param=field,
            hint=f"It declares {known}." if known else "Declare it under `tools`.",
        )
    if name is not None and name in workshop.faults:
        raise ToolInvalid(f"`{field}`: the tool {name!r} is not there: {workshop.faults[name]}")
    return workshop.toolset(tuple(tools) if name is None else (name,))


def permit(workshop: Workshop, url: str, field: str) -> bool:
    """Whether the server that a request brings along may have an address that is not public.

    Raises Forbidden unless the profile allows it, OutboundRefused for what is no URL to use.
    """
    allowed = _profile(workshop).server.mcp.ephemeral
    if allowed is False:
        raise Forbidden(
            f"`{field}`: requests may not bring MCP servers along.",
            hint="`server.mcp.ephemeral` in the profile allows it; a server under `mcp_servers` "
            "can be named.",
        )
    if allowed is True:
        safe_to_open(url, allow_loopback=False)
        return False
    parts = urlsplit(safe_to_open(url, allow_private=True))
    host, port = plain_host(parts.hostname or ""), parts.port or DEFAULT_PORTS[parts.scheme]
    if not any(AllowedHost.parse(entry).matches(host, port) for entry in allowed):
        raise Forbidden(
            f"`{field}`: {host}:{port} is none of the hosts that the profile allows.",
            hint="`server.mcp.ephemeral` in the profile lists them.",
        )
    return True


def check_headers(headers: Mapping[str, str], field: str) -> None:
    """Raises InvalidParameter for what cannot be a header of a request."""
    for name, value in headers.items():
        is_token = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
        if not is_token or name.lower() in _OURS or name.lower().startswith("mcp-"):
            raise InvalidParameter(
                f"`{field}`: {name[:80]!r} cannot be sent as a header.", param=field
            )
        if not value.isascii() or not value.isprintable():
            raise InvalidParameter(
                f"`{field}`: the value of {name[:80]!r} must be printable ASCII.", param=field
            )


def _profile(workshop: Workshop) -> Profile:
    return workshop.profile or Profile(version=1)
