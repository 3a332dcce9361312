"""What is to be run for a tool, with which limits and in which environment. Nothing is run here."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmrun.profile.tooling.tools import ToolLimits

PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")

log = logging.getLogger("lmrun.tools")

_MAX_ORDER_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use; None: as much as it likes. `cpu_s`: seconds of processor time of all
    its processes together; `memory`: address space of each of them, in bytes; `processes`: they
    and their threads, at a time; `file_size`: bytes of a file that they write."""

    cpu_s: float | None
    memory: int | None
    processes: int | None
    file_size: int | None

    @classmethod
    def of(cls, limits: ToolLimits) -> Limits:
        return cls(limits.cpu, limits.memory, limits.processes, limits.file_size)


NO_LIMITS = Limits(None, None, None, None)

UNKEPT_LIMITS = () if sys.platform == "linux" else ("memory", "processes")
"""Those that this system does not keep for us; there, processor time is counted for each process,
not for all together, and a process that leaves its group is not found at the end."""


@dataclass(frozen=True, slots=True)
class Program:
    """`directory`: where it runs. `fds`: what it inherits beside its standard streams.
    `executable`: the file that is run, None: what `argv[0]` means on the PATH."""

    argv: Sequence[str]
    directory: Path
    environment: Mapping[str, str]
    limits: Limits
    fds: Sequence[int] = ()
    executable: Path | None = None


def tell_unkept(key: str) -> None:
    """Log which limits do not hold for the tool `key` here."""
    if UNKEPT_LIMITS:
        log.warning("tool %s: this system does not keep its limits of %s", key, UNKEPT_LIMITS)


def choose_environment(environment: Mapping[str, str], declared: Sequence[str]) -> dict[str, str]:
    """Of the server's `environment` what every tool sees, and what the profile lets this one see.
    A variable that is not set stays so."""
    names = dict.fromkeys((*PASSED_ON, *declared))
    return {name: environment[name] for name in names if name in environment}


def encode_order(program: Program) -> bytes:
    """`program` as the launcher reads it: fields with NUL between, behind their length in four
    bytes. Raises ValueError for text that no process can be given."""
    limits = program.limits
    fields = [
        *("" if it is None else str(it) for it in (limits.cpu_s, limits.memory, limits.file_size)),
        "" if limits.processes is None else str(limits.processes),
        " ".join(map(str, program.fds)),
        str(program.directory),
        "" if program.executable is None else str(program.executable),
        str(len(program.argv)),
        *program.argv,
        *(f"{name}={value}" for name, value in program.environment.items()),
    ]
    encoded = [os.fsencode(field) for field in fields]
    if any(b"\0" in field for field in encoded):
        raise ValueError("a NUL cannot be handed to a process")
    body = b"\0".join(encoded)
    if len(body) > _MAX_ORDER_BYTES:
        raise ValueError(f"{len(body)} bytes are more than a process can be given")
    return len(body).to_bytes(4, "big") + body
