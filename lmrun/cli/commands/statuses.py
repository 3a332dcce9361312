"""`lmrun status`: what is, as a table and what is wrong with it. It fetches, then only draws."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from lmrun.cli.client import Control
from lmrun.cli.commands.profiles import shorten_path
from lmrun.cli.commands.residencies import (
    ON_DEMAND,
    describe_queue,
    describe_residency,
    render_memory,
)
from lmrun.cli.failures import EXPECTED, count
from lmrun.cli.terminal import Style, Terminal, align, paint, printable, show_bytes
from lmrun.reconcile.status import (
    Condition,
    GitStatus,
    InstanceStatus,
    ModelStatus,
    RolloutStatus,
    Status,
    ToolsStatus,
)
from lmrun.store.home import Home

NOT_RUNNING: dict[str, object] = {
    "server": None,
    "profile": None,
    "conditions": [],
    "models": [],
    "drift": [],
    "git": None,
    "tools": None,
}

_COLUMNS = ("IDENTIFIER", "MODEL", "STATE", "REASON", "CONTEXT", "ACTIVE", "WAITING", "RESTARTS")
_DRIFT_COLUMNS = ("FIELD", "INSTANCE", "OWNER", "DESIRED", "OBSERVED", "SINCE")
_LONGEST_VALUE = 60
_COMMIT = 12
_DESCRIPTION = 80
"""Characters of what is said of an agent."""
"""Of a commit's id, as many digits as people need."""
_STATE_STYLES: dict[str, Style] = {"ready": "good", "failed": "bad"}


def status(*, as_json: bool, terminal: Terminal, home: Home) -> int:
    """Show what is and return the exit code: 1 when no server runs, else 0."""
    control = Control(home.control_socket)
    if not control.is_listening():
        if as_json:
            terminal.show(_encode(NOT_RUNNING))
        else:
            terminal.show("lmrun is not running.")
            terminal.tell(f"{paint('Hint:', 'dim')} `lmrun apply PROFILE` starts it.")
        return EXPECTED
    found = control.status()
    terminal.show(_encode(found) if as_json else render_status(found))
    return 0


def _encode(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def render_status(found: Status) -> str:
    """Server and profile, one row per instance, then every condition that is not True."""
    parts = [_render_head(found)]
    rows = [row for model in found.models for row in _rows(model)]
    if rows:
        parts.append("\n".join(align([_COLUMNS, *rows])))
    instances = [instance for model in found.models for instance in model.instances]
    held = [line for instance in instances if (line := render_usage(instance))]
    if held:
        parts.append("\n".join(held))
    if found.drift:
        parts.append(render_drift(found))
    problems = [line for subject, it in _troubles(found) for line in _render_trouble(subject, it)]
    if problems:
        parts.append("\n".join(problems))
    return "\n\n".join(parts)


def render_drift(found: Status) -> str:
    """What was changed by hand: one row per field, below it why it is not adopted."""
    policy = found.profile.drift_policy if found.profile else "report"
    cells = [
        (it.field, it.instance, it.owner, _or_unset(it.desired), _or_unset(it.observed), it.since)
        for it in found.drift
    ]
    rows = [tuple(map(printable, row)) for row in cells]
    title, *lines = align([_DRIFT_COLUMNS, *rows])
    shown = [f"{paint('Changed by hand', 'change')} (drift: {policy})", title]
    for drift, line in zip(found.drift, lines, strict=True):
        shown.append(line)
        if drift.obstacle is not None:
            shown.append(paint(f"    ! not adopted: {printable(drift.obstacle)}", "bad"))
    return "\n".join(shown)


def _or_unset(value: str | None) -> str:
    if value is None:
        return "(unset)"
    return value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}…"


def render_usage(instance: InstanceStatus) -> str:
    """What an instance holds and has done, on one line; empty while that is not known."""
    usage, memory = instance.usage, instance.memory
    parts = [] if instance.rollout is None else [_render_rollout(instance.rollout)]
    parts += [*describe_queue(instance), *describe_residency(instance.residency)]
    if memory.measured_anonymous_bytes is not None:
        taken = memory.measured_anonymous_bytes + (memory.measured_mapped_bytes or 0)
        parts.append(f"{show_bytes(taken)} of memory{_render_error(memory.error)}")
    if usage is not None and usage.kv_tokens:
        entries = usage.prefix_cache_entries
        parts += [
            f"KV {usage.kv_tokens_used} of {usage.kv_tokens} tokens",
            f"{entries} parked prefix{'es' if entries != 1 else ''}, "
            f"{show_bytes(usage.prefix_cache_bytes)} of {show_bytes(usage.prefix_cache_limit)}",
            f"{usage.prefilled_tokens} prefilled, {usage.cached_tokens} cached, "
            f"{usage.generated_tokens} generated tokens",
        ]
    if usage is not None and usage.drafted_tokens:
        parts.append(f"{usage.accepted_tokens} of {usage.drafted_tokens} guesses accepted")
    return f"{instance.identifier}: {'; '.join(parts)}" if parts else ""


def _render_rollout(rollout: RolloutStatus) -> str:
    if rollout.phase == "retiring":
        return f"{count(rollout.in_flight, 'request')} of the version before still running"
    progress = "" if rollout.progress is None else f", {rollout.progress:.0%} loaded"
    return f"a new version comes{progress}"


def _render_error(error: float | None) -> str:
    return "" if error is None else f" ({error:+z.0%} against the estimate)"


def _render_head(found: Status) -> str:
    server, profile = found.server, found.profile
    lines = [("server", f"{server.address or 'not listening'} (pid {server.pid})")]
    if profile is None:
        lines.append(("profile", "none applied"))
    else:
        watching = ", watched" if profile.watching else ""
        files = ", ".join(shorten_path(file) for file in profile.files)
        lines.append(("profile", f"{printable(files)}{watching}"))
        lines.append(("generation", _render_generation(profile.generation, found)))
    if server.memory is not None:
        lines.append(("memory", render_memory(server.memory)))
    if found.git is not None:
        lines.append(("git", _render_git(found.git)))
    if found.tools is not None:
        lines += _render_tools(found.tools)
    if server.log is not None:
        lines.append(("log", shorten_path(server.log)))
    return "\n".join(align(lines))


def _render_tools(tools: ToolsStatus) -> Iterator[tuple[str, str]]:
    if any(agent.description for agent in tools.agents):
        for agent in tools.agents:
            about = f": {_shorten(agent.description)}" if agent.description else ""
            yield "agents" if agent is tools.agents[0] else "", printable(f"{agent.name}{about}")
    elif tools.agents:
        yield "agents", printable(", ".join(agent.name for agent in tools.agents))
    missing = f", {paint(f'{tools.missing} missing', 'bad')}" if tools.missing else ""
    servers = f", {count(tools.servers, 'MCP server')}" if tools.servers else ""
    yield "tools", f"{tools.declared}{missing}{servers}"


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _DESCRIPTION else f"{line[: _DESCRIPTION - 1]}…"


def _render_git(git: GitStatus) -> str:
    runs = f"commit {git.commit[:_COMMIT]}" if git.commit else "no commit yet"
    is_behind = git.is_behind and git.head is not None
    behind = f", {paint('behind', 'change')} {(git.head or '')[:_COMMIT]}" if is_behind else ""
    return f"{printable(f'{git.url} {git.ref} {git.path}')}: {runs}{behind}"


def _render_generation(generation: int, found: Status) -> str:
    observed = found.profile.observed_generation if found.profile else 0
    if observed != generation:
        return f"{generation}, {paint('not converged', 'change')} (last: {observed or 'none'})"
    # It was: since then a model may have died, or its file have changed.
    if any(it.type == "Converged" and it.status == "False" for it in found.conditions):
        return f"{generation}, {paint('not converged', 'change')} any more"
    return f"{generation}, converged"


def _rows(model: ModelStatus) -> Iterator[tuple[str, ...]]:
    reason = _reason(model)
    for instance in model.instances:
        yield (
            instance.identifier,
            model.key,
            _render_state(instance),
            reason,
            str(instance.context_length or "-"),
            str(instance.active),
            str(instance.waiting),
            str(instance.restarts),
        )
    if not model.instances:
        state = {"absent": "absent", "on_demand": "on demand"}.get(model.state, "not loaded")
        waiting = str(model.waiting or "-")
        yield ("-", model.key, paint(state, "dim"), reason, "-", "-", waiting, "-")


def _render_state(instance: InstanceStatus) -> str:
    style = _STATE_STYLES.get(instance.state, "change")
    is_partial = instance.state == "loading" and instance.progress is not None
    return paint(
        f"{instance.state} {instance.progress:.0%}" if is_partial else instance.state, style
    )


def _reason(model: ModelStatus) -> str:
    """Of the first condition that is not True, else of the last one."""
    wanted = next((it for it in model.conditions if it.status != "True"), None)
    conditions = model.conditions[-1:] if wanted is None else (wanted,)
    return conditions[0].reason if conditions else "-"


def _troubles(found: Status) -> Iterator[tuple[str, Condition]]:
    """Every condition that is not True, except that a model need not be ready."""
    for condition in found.conditions:
        if condition.status != "True":
            yield "", condition
    for model in found.models:
        for condition in model.conditions:
            is_meant = condition.type == "Ready" and (
                model.state == "absent" or condition.reason == ON_DEMAND
            )
            if condition.status != "True" and not is_meant:
                yield model.key, condition


def _render_trouble(subject: str, condition: Condition) -> list[str]:
    style: Style = "bad" if condition.status == "False" else "change"
    name = f"{subject}: {condition.type}" if subject else condition.type
    first, *rest = printable(condition.message).splitlines() or [""]
    head = f"{paint(f'! {name} is {condition.status}', style)} ({condition.reason})"
    return [f"{head}: {first}" if first else head, *(f"    {line}" for line in rest)]
