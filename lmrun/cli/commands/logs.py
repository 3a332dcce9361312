"""`lmrun logs`: what happens in the server, as it happens. It fetches, then only draws."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import msgspec

from lmrun.cli.client import Control
from lmrun.cli.terminal import Style, Terminal, paint, printable
from lmrun.errors import ServerUnreachable
from lmrun.store.home import Home

_INDENT = "  │ "
_LEVEL_STYLES: dict[str, Style] = {"error": "bad", "critical": "bad", "warning": "change"}
_IN_WORDS = frozenset({"method", "path", "status"})
"""Fields that the words of a line say already."""


def choose_sources(*, prompts: bool, server: bool) -> tuple[str, ...]:
    """Both, unless one of them is asked for."""
    if prompts == server:
        return ("server", "model")
    return ("model",) if prompts else ("server",)


def logs(
    sources: tuple[str, ...], last: int, *, as_json: bool, terminal: Terminal, home: Home
) -> None:
    """Show events until the server ends. Raises ServerUnreachable when there is none."""
    control = Control(home.control_socket)
    if not control.is_listening():
        raise ServerUnreachable("lmrun is not running.", hint=_hint_at(home))
    with closing(control.logs(sources, last)) as events:
        for data in events:
            terminal.show(data.decode() if as_json else render(msgspec.json.decode(data)))


def render(event: Mapping[str, Any]) -> str:
    """An event as a line, or as a head with the text below it."""
    match event["type"]:
        case "server.log":
            return _render_line(event)
        case "llm.prediction.input":
            return _render_text(event, "prompt", event["input"], "")
        case "llm.prediction.output":
            return _render_text(event, "output", event["output"], _render_end(event))
        case "log.lost":
            return paint(f"({event['count']} events were too many, and are lost)", "change")
        case other:
            return printable(f"({other})")


def _render_line(event: Mapping[str, Any]) -> str:
    style = _LEVEL_STYLES.get(event["level"])
    message = printable(event["message"])
    words = paint(message, style) if style else message
    fields = " ".join(
        f"{name}={value}" for name, value in event["fields"].items() if name not in _IN_WORDS
    )
    line = f"{paint(_clock(event), 'dim')} {printable(event['logger'])}: {words}"
    return f"{line} {paint(printable(fields), 'dim')}" if fields else line


def _render_text(event: Mapping[str, Any], kind: str, text: str, end: str) -> str:
    request = f", {event['request_id']}" if event["request_id"] else ""
    about = f"generation {event['generation']}{request}"
    title = printable(f"{event['model']} {kind}")
    head = f"{paint(_clock(event), 'dim')} {paint(title, 'strong')}"
    lines = [f"{_INDENT}{line}" for line in printable(text).split("\n")]
    return "\n".join([f"{head} ({printable(about + end)})", *lines])


def _render_end(event: Mapping[str, Any]) -> str:
    if event["error"] is not None:
        return f"; failed: {event['error']}"
    stats = event["stats"]
    if stats is None:
        return "; its client left"
    first_s = stats["time_to_first_token_s"]
    first = "" if first_s is None else f", first after {first_s:.2f} s"
    return (
        f"; {event['stop_reason']}; {stats['prompt_tokens']} prompt tokens, "
        f"{stats['cached_tokens']} cached; {stats['completion_tokens']} generated in "
        f"{stats['total_s']:.2f} s{first}"
    )


def _clock(event: Mapping[str, Any]) -> str:
    """`2026-11-25T12:00:00.123Z` → `12:00:00.123`, in UTC as the log has it."""
    return str(event["time"])[11:23]


def _hint_at(home: Home) -> str:
    log = home.server_log
    return f"What the last one wrote is in {log}." if log.exists() else "`lmrun apply` starts it."
