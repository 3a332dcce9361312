"""`lmrun mcp list`, `approve`, `login`, `logout`: what is shown of MCP servers, and agreed to.

What was agreed to is the server's affair; this only shows, asks and passes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Literal

import msgspec

from lmrun.cli.client import Control
from lmrun.cli.failures import count
from lmrun.cli.terminal import Style, Terminal, align, paint, printable
from lmrun.errors import LmrunError, McpLoginFailed, ServerUnreachable
from lmrun.store.home import Home
from lmrun.tools.mcp.reports import (
    LoginAsked,
    LoginDone,
    McpReview,
    McpServerReport,
    McpServers,
    ToolReview,
)

Consent = Literal["ask", "yes", "locked"]
"""Whether somebody is asked, has agreed to everything, or to what the lock file pins."""

_COLUMNS = ("SERVER", "TRANSPORT", "STATE", "PROTOCOL", "TOOLS", "RESTARTS")
_STATE_STYLES: dict[str, Style] = {"ready": "good", "failed": "bad", "needs_approval": "bad"}
_UNLOCKED = paint("  ! The lock file beside the profile does not pin this.", "bad")
_STANDINGS = {"new": "new", "changed": "changed since it was approved"}


def list_servers(*, as_json: bool, terminal: Terminal, home: Home) -> None:
    """Show every declared server, its tools, and what is wrong. Raises LmrunError."""
    found = _connect(home).mcp_servers()
    if as_json:
        terminal.show(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    elif found.servers:
        terminal.show(render_servers(found))
    else:
        terminal.show("The profile declares no MCP servers.")


def tell_unapproved(control: Control, terminal: Terminal) -> None:
    """A line for each server that waits for somebody to agree to it. A server that cannot be asked
    says so elsewhere."""
    with suppress(LmrunError):
        for server in control.mcp_servers().servers:
            if server.state == "needs_approval":
                name = printable(server.name)
                terminal.tell(
                    paint(
                        f"! MCP server {name} has to be approved: `lmrun mcp approve {name}`.",
                        "change",
                    )
                )


def render_servers(found: McpServers) -> str:
    """One row per server, then each with what is wrong with it and its tools."""
    rows = [_row(server) for server in found.servers]
    parts = ["\n".join(align([_COLUMNS, *rows]))]
    parts += [text for server in found.servers if (text := "\n".join(_details(server)))]
    return "\n\n".join(parts)


def _row(server: McpServerReport) -> tuple[str, ...]:
    offered = sum(tool.fault is None for tool in server.tools)
    tools = f"{offered} of {len(server.tools)}" if offered < len(server.tools) else str(offered)
    state = server.state.replace("_", " ")
    return (
        server.name,
        server.transport,
        paint(state, _STATE_STYLES.get(server.state, "change")),
        server.protocol or "-",
        tools,
        str(server.restarts),
    )


def _details(server: McpServerReport) -> Iterator[str]:
    if server.fault is not None:
        yield paint(f"! {server.name}: {printable(server.fault)}", "bad")
    if server.is_logged_in is False:
        yield paint(
            f"! {server.name}: nobody has logged in (`lmrun mcp login {server.name}`)", "bad"
        )
    good = [printable(tool.name) for tool in server.tools if tool.fault is None]
    if good:
        yield f"{server.name}: {', '.join(good)}"
    for tool in server.tools:
        if tool.fault is not None:
            yield paint(f"! {server.name}: {printable(f'{tool.name}: {tool.fault}')}", "bad")
            yield from (_render_diff(line) for line in (tool.diff or "").splitlines())


def approve(server: str, consent: Consent, *, terminal: Terminal, home: Home) -> None:
    """Show what the server is, ask, then the same for its tools. Raises LmrunError where nobody
    agrees, and for what the MCP server or lmrun's own refuses."""
    control = _connect(home)
    review = control.review_mcp(server)
    approved = []
    if review.identity.standing != "approved":
        terminal.show(render_identity(review))
        question = f"Run {server} whenever it is needed?"
        _require_consent(question, consent, [review.identity.is_locked], terminal)
        review = control.approve_mcp(server, review.identity.digest, {})
        approved.append(server)
    if review.problem is not None:
        raise LmrunError(f"{_name(approved)}What its tools are is not known: {review.problem}")
    pending = [tool for tool in review.tools if tool.standing != "approved"]
    if pending:
        terminal.show("\n\n".join(render_tool(tool) for tool in pending))
        question = f"Let models use {count(len(pending), 'tool')} of {server}?"
        _require_consent(question, consent, [it.is_locked for it in pending], terminal)
        control.approve_mcp(server, None, {tool.name: tool.digest for tool in pending})
        approved += [f"{server}/{tool.name}" for tool in pending]
    if not review.tools:
        terminal.tell(
            f"The profile offers none of its tools; `mcp_servers.{server}.tools.allow` names them."
        )
    terminal.show(
        f"{paint('Approved:', 'good')} {printable(', '.join(approved))}"
        if approved
        else f"All of {server} was approved already."
    )


def _name(approved: list[str]) -> str:
    return f"{approved[0]} is approved. " if approved else ""


def render_identity(review: McpReview) -> str:
    """What is started or called, in full, and what has changed."""
    identity = review.identity
    lines = [f"{paint(review.server, 'strong')} ({_STANDINGS.get(identity.standing, '')})"]
    lines += [f"  {printable(line)}" for line in identity.lines]
    lines += [paint(f"  ! {printable(line)}", "bad") for line in identity.changes]
    if identity.is_locked is False:
        lines.append(_UNLOCKED)
    return "\n".join(lines)


def render_tool(tool: ToolReview) -> str:
    """All that the tool says of itself, what is hidden in it, and what has changed."""
    standing = _STANDINGS.get(tool.standing, "")
    lines = [f"{paint(printable(tool.name), 'strong')} ({standing})"]
    lines += [f"  {printable(line)}" for line in tool.text.splitlines()]
    if tool.hidden:
        hidden = printable(", ".join(tool.hidden))
        lines.append(paint(f"  ! It holds characters that nobody sees: {hidden}", "bad"))
    if tool.diff:
        lines.append(paint("  ! What has changed:", "bad"))
        lines += [_render_diff(line) for line in tool.diff]
    if tool.is_locked is False:
        lines.append(_UNLOCKED)
    return "\n".join(lines)


def _render_diff(line: str) -> str:
    style: Style = {"+": "good", "-": "bad"}.get(line[:1], "dim")  # type: ignore[assignment]
    return paint(f"    {printable(line)}", style)


def _require_consent(
    question: str, consent: Consent, are_locked: list[bool | None], terminal: Terminal
) -> None:
    """Raises LmrunError unless somebody agrees, or has agreed beforehand."""
    if consent == "yes" or (consent == "locked" and all(are_locked)):
        return
    if consent == "locked":
        raise LmrunError(
            "This is not what the lock file pins; nothing was approved.",
            hint="Without --locked you are asked.",
        )
    if not terminal.can_ask:
        raise LmrunError("Nobody is there to agree; nothing was approved.", hint="--yes agrees.")
    if not terminal.ask(question):
        raise LmrunError("Not approved.")


def login(server: str, *, may_open: bool, terminal: Terminal, home: Home) -> None:
    """Show where to log in, open a browser there if somebody agrees, and wait for what comes of it.
    Raises LmrunError."""
    with closing(_connect(home).log_in_mcp(server)) as events:
        for event in events:
            if isinstance(event, LoginAsked):
                _send_there(event, may_open, terminal)
            else:
                terminal.show(render_login(server, event))
                return
    raise McpLoginFailed("The server stopped waiting for the login.")


def render_login(server: str, done: LoginDone) -> str:
    """That there is a credential, and for how long."""
    scope = f" for {printable(done.scope)}" if done.scope else ""
    if done.is_renewable:
        return f"Logged in to {server}{scope}; it renews itself."
    until = "" if done.expires_s is None else f"; it ends in {done.expires_s} s"
    return f"Logged in to {server}{scope}{until}."


def logout(server: str, *, terminal: Terminal, home: Home) -> None:
    """Have the credential forgotten. Raises LmrunError."""
    done = _connect(home).log_out_mcp(server)
    shown = printable(done.server)
    terminal.show(
        f"Logged out of {shown}: its tokens are forgotten here."
        if done.was_logged_in
        else f"Nobody was logged in to {shown}."
    )


def _send_there(asked: LoginAsked, may_open: bool, terminal: Terminal) -> None:
    terminal.tell(f"Log in here:\n  {printable(asked.url)}")
    if not (may_open and terminal.can_ask):
        return
    if terminal.ask(f"Open a browser at {printable(asked.host)}?"):
        # Imported late: only this command has a use for it.
        import webbrowser

        webbrowser.open(asked.url)


def _connect(home: Home) -> Control:
    control = Control(home.control_socket)
    if not control.is_listening():
        raise ServerUnreachable("lmrun is not running.", hint="`lmrun apply PROFILE` starts it.")
    return control
