"""What a process holds in RAM, as the system counts it. It knows no model and no estimate."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_KIB = 1024


class ProcessMemory(NamedTuple):
    """Bytes. `anonymous`: its own, swapped out or not. `mapped`: pages of files, which other
    processes may share and the system may drop."""

    anonymous: int
    mapped: int


def read_memory(pid: int) -> ProcessMemory | None:
    """Of the process `pid`; None when it is gone, and on systems without Linux's /proc."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return parse_status(text)


def parse_status(text: str) -> ProcessMemory | None:
    """Out of `/proc/PID/status` (proc_pid_status(5)); None for a process that has no memory."""
    sizes = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        number, _, unit = rest.strip().partition(" ")
        if unit == "kB" and number.isdigit():
            sizes[name] = int(number) * _KIB
    if "RssAnon" not in sizes or "RssFile" not in sizes:
        return None
    return ProcessMemory(sizes["RssAnon"] + sizes.get("VmSwap", 0), sizes["RssFile"])
