"""Why models are in memory, and who waits for them, as parts of `lmrun status`. It only draws."""

from __future__ import annotations

from collections import Counter

from lmrun.cli.failures import count
from lmrun.cli.terminal import show_bytes
from lmrun.reconcile.status import InstanceStatus, ResidencyStatus, ServerMemory

ON_DEMAND = "OnDemand"
"""The reason of `Ready` where a model is not loaded and need not be."""

_ORIGINS = {"jit": "loaded by a request", "hand": "loaded by hand"}
_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"))


def render_memory(memory: ServerMemory) -> str:
    """What all models take of what they may."""
    limit = "" if memory.limit_bytes is None else f" of {show_bytes(memory.limit_bytes)}"
    return f"{show_bytes(memory.claimed_bytes)}{limit} for models"


def describe_residency(residency: ResidencyStatus) -> list[str]:
    """Why it is there and how long it stays; nothing for what the profile keeps loaded."""
    if residency.origin == "declared":
        return []
    parts = [_ORIGINS[residency.origin]]
    if residency.pinned:
        parts.append("pinned")
    elif residency.ttl_s is not None:
        idle = "" if residency.idle_s is None else f", idle for {show_seconds(residency.idle_s)}"
        parts.append(f"leaves after {show_seconds(residency.ttl_s)} without use{idle}")
    return [", ".join(parts)]


def describe_queue(instance: InstanceStatus) -> list[str]:
    """How many generations wait for their turn, by class, and the next one for how long."""
    if not instance.queue:
        return []
    classes = Counter(it.priority for it in instance.queue)
    shown = ", ".join(f"{number} {name}" for name, number in classes.items())
    waited = show_seconds(instance.queue[0].waited_s)
    return [f"{count(len(instance.queue), 'request')} in line ({shown}), the next for {waited}"]


def show_seconds(seconds: float) -> str:
    """`45 s`, `12 m`, `1.5 h`: in the largest unit of which there is one."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
