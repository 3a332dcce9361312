"""What keeps declared tools from being used, one line each, with what to do about it. Pure; it
looks at nothing itself, and decides about no call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lmrun.tools.mcp.cleaning import clean_line
from lmrun.tools.mcp.status import ServerStatus

MAX_MESSAGE = 1000
MAX_NAMED = 5
MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class Trouble:
    """`subject`: the path in the profile of what cannot be used, or not all of it. `reason`: a code
    in CamelCase. `message`: one line, which says what to do."""

    subject: str
    reason: str
    message: str


def find_troubles(faults: Mapping[str, str], servers: Iterable[ServerStatus]) -> Iterator[Trouble]:
    """`faults`: why tools are not there that the profile declares itself, by their keys."""
    for key, fault in sorted(faults.items()):
        message = f"{fault.rstrip('.')}. Once that is mended, it is tried again by itself."
        yield _make(f"tools.{key}", "ToolInvalid", message)
    for server in servers:
        subject = f"mcp_servers.{server.name}"
        if server.state == "needs_approval":
            yield _make(subject, "NeedsApproval", server.error or "Nobody has agreed to it.")
        elif server.state in ("failed", "backing_off"):
            then = "when it is needed" if server.state == "failed" else "by itself"
            told = (server.error or "It ended.").rstrip(".")
            yield _make(subject, "ServerFailed", f"{told}. It is started again {then}.")
        elif server.state == "starting" and server.error is not None:
            told = server.error.rstrip(".")
            yield _make(subject, "ServerFailed", f"{told}. It is being started again.")
        yield from _of_tools(subject, server)


def _of_tools(subject: str, server: ServerStatus) -> Iterator[Trouble]:
    """One for each thing that there is to do about tools."""
    kinds = [(it.tool, it.fault.kind) for it in server.tools if it.fault is not None]
    approve = f"`lmrun mcp approve {server.name}` shows them, and asks."
    if new := [tool for tool, kind in kinds if kind == "needs_approval"]:
        yield _make(subject, "NeedsApproval", f"Not approved: {_name(new)}. {approve}")
    if changed := [tool for tool, kind in kinds if kind == "drift"]:
        message = f"Changed since they were approved: {_name(changed)}. {approve}"
        yield _make(subject, "ToolDrift", message)
    if others := [tool for tool, kind in kinds if kind not in ("needs_approval", "drift")]:
        message = f"Cannot be offered: {_name(others)}. `lmrun mcp list` says why."
        yield _make(subject, "ToolUnusable", message)


def _name(tools: Sequence[str]) -> str:
    """The first ones, and how many more there are."""
    named = ", ".join(clean_line(tool, MAX_NAME) for tool in tools[:MAX_NAMED])
    more = len(tools) - MAX_NAMED
    return f"{named} and {more} more" if more > 0 else named


def _make(subject: str, reason: str, message: str) -> Trouble:
    return Trouble(subject, reason, clean_line(message, MAX_MESSAGE))
