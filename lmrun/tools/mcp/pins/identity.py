"""What an MCP server is, as far as somebody agrees to it: the command that is started, or the URL
that is called. It knows no protocol and nobody's consent.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from lmrun.errors import McpUnreachable
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.tools.mcp.pins.definitions import digest_of
from lmrun.tools.mcp.transport.launching import plan_launch

_SHOWN_DIGITS = 12


class ServerIdentity(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is agreed to. Of a command: `argv`, the names in `env`, `cwd` relative to the profile,
    and `sha256` of the program, which lies at `program`. Of a remote server: `url`, `transport`,
    the names in `headers`."""

    argv: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    cwd: str | None = None
    program: str | None = None
    sha256: str | None = None
    url: str | None = None
    transport: str | None = None
    headers: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """sha256 in hex. Where the program lies does not count: what is in it does."""
        return digest_of(msgspec.to_builtins(msgspec.structs.replace(self, program=None)))

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


def decode_identity(content: bytes) -> ServerIdentity:
    """What `encode` made."""
    return msgspec.json.decode(content, type=ServerIdentity)


class IdentityReader:
    """Reads what servers are on this machine now. `environment`: that of whoever starts them.

    A program is hashed again when anything about its file has changed, its time of change
    included, which nobody can set.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._hashes: dict[Path, tuple[tuple[int, ...], str]] = {}

    def read(self, config: McpServerConfig, directory: Path, root: Path) -> ServerIdentity:
        """`directory`: what the server's paths are relative to; `root`: the profile. Raises
        McpUnreachable when there is no such program. Callable from any thread."""
        if config.command is None:
            return ServerIdentity(
                url=config.url,
                transport=config.transport,
                headers=tuple(sorted(name.lower() for name in config.headers)),
            )
        launch = plan_launch(config, directory, self._environment)
        program = launch.program.resolve()
        return ServerIdentity(
            argv=launch.argv,
            env=tuple(sorted(config.env)),
            cwd=_to_text(os.path.relpath(launch.directory, root.parent)),
            program=_to_text(program),
            sha256=self._hash(program),
        )

    def _hash(self, program: Path) -> str:
        try:
            with open(program, "rb") as file:
                it = os.fstat(file.fileno())
                state = (it.st_dev, it.st_ino, it.st_size, it.st_mtime_ns, it.st_ctime_ns)
                known = self._hashes.get(program)
                if known is not None and known[0] == state:
                    return known[1]
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise McpUnreachable(f"{program}: {error.strerror}.") from error
        self._hashes[program] = state, digest
        return digest


def show_identity(identity: ServerIdentity) -> tuple[str, ...]:
    """All of it for a person, nothing left out: `command: …`, `program: …`, one line each."""
    shown = {
        "command": _show(identity.argv) if identity.argv else None,
        "program": identity.program,
        "sha256": identity.sha256,
        "directory": identity.cwd,
        "environment": _show(identity.env) if identity.argv else None,
        "url": identity.url,
        "transport": identity.transport,
        "headers": _show(identity.headers) if identity.url else None,
    }
    return tuple(f"{name}: {value}" for name, value in shown.items() if value is not None)


def find_changes(old: ServerIdentity, new: ServerIdentity) -> tuple[str, ...]:
    """In words, what was agreed to first; empty when it is the same."""
    return tuple(_changes(old, new))


def _changes(old: ServerIdentity, new: ServerIdentity) -> Iterator[str]:
    for field in ("argv", "env", "cwd", "url", "transport", "headers"):
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            yield f"{field}: {_show(before)} → {_show(after)}"
    if old.sha256 != new.sha256:
        yield (
            f"the program {new.program or '(none)'} has sha256 {_shorten(new.sha256)}, "
            f"approved was {_shorten(old.sha256)}"
        )


def _show(value: str | tuple[str, ...] | None) -> str:
    if value is None or value == ():
        return "(none)"
    return value if isinstance(value, str) else " ".join(map(repr, value))


def _to_text(path: str | Path) -> str:
    # Names of files need not be UTF-8; what is kept is.
    return os.fsencode(path).decode("utf-8", "replace")


def _shorten(digest: str | None) -> str:
    return "(none)" if digest is None else f"{digest[:_SHOWN_DIGITS]}…"
