"""What an MCP server is, as far as somebody agrees to it: the command that is started with the
scripts that it names, or the URL that is called. It knows no protocol and nobody's consent.

Where the profile has a reference, the reference is agreed to and shown: its value may be a secret.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from lmrun.errors import McpUnreachable
from lmrun.profile.text import nodes
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.tools.mcp.pins.definitions import digest_of
from lmrun.tools.mcp.pins.scripts import find_scripts
from lmrun.tools.mcp.transport.launching import plan_launch

_SHOWN_DIGITS = 12

Written = Mapping[nodes.Path, str]
"""What the profile says where it has references, by the place within the server's declaration."""

NOTHING_WRITTEN: Written = MappingProxyType({})


class Script(msgspec.Struct, frozen=True):
    """A file that the command names and a program runs. `name`: as in `argv`."""

    name: str
    sha256: str


class ServerIdentity(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is agreed to. Of a command: `argv`, the names in `env`, `cwd` relative to the profile,
    `sha256` of the program, which lies at `program`, and the `scripts` among its arguments. Of a
    remote server: `url`, `transport`, the names in `headers`."""

    argv: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    cwd: str | None = None
    program: str | None = None
    sha256: str | None = None
    url: str | None = None
    transport: str | None = None
    headers: tuple[str, ...] = ()
    scripts: tuple[Script, ...] = ()

    @property
    def digest(self) -> str:
        """sha256 in hex. Where the program lies does not count: what is in it does."""
        return digest_of(msgspec.to_builtins(msgspec.structs.replace(self, program=None)))

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


def find_written(written: Written, server: str) -> Written:
    """That of one server, of what is written in a whole profile."""
    return {path[2:]: text for path, text in written.items() if path[:2] == ("mcp_servers", server)}


def decode_identity(content: bytes) -> ServerIdentity:
    """What `encode` made."""
    return msgspec.json.decode(content, type=ServerIdentity)


class IdentityReader:
    """Reads what servers are on this machine now. `environment`: that of whoever starts them.

    A program or script is hashed again when anything about its file has changed, its time of change
    included, which nobody can set.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._hashes: dict[Path, tuple[tuple[int, ...], str]] = {}

    def read(
        self,
        config: McpServerConfig,
        directory: Path,
        root: Path,
        written: Written = NOTHING_WRITTEN,
    ) -> ServerIdentity:
        """`directory`: what the server's paths are relative to; `root`: the profile. Raises
        McpUnreachable when there is no such program, and for scripts that are too many or too
        large. Callable from any thread."""
        if config.command is None:
            return ServerIdentity(
                url=written.get(("url",), config.url),
                transport=config.transport,
                headers=tuple(sorted(name.lower() for name in config.headers)),
            )
        launch = plan_launch(config, directory, self._environment)
        program = launch.program.resolve()
        argv = [written.get(("command", place), it) for place, it in enumerate(launch.argv)]
        where = _to_text(os.path.relpath(launch.directory, root.parent))
        scripts = find_scripts(launch.argv, program.name, launch.directory)
        return ServerIdentity(
            argv=tuple(argv),
            env=tuple(sorted(config.env)),
            cwd=written.get(("cwd",), where),
            program=_to_text(program),
            sha256=self._hash(program),
            scripts=tuple(Script(argv[at], self._hash(file)) for at, file in scripts.items()),
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
        **{f"script {script.name}": f"sha256 {script.sha256}" for script in identity.scripts},
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
    before, after = ({it.name: it.sha256 for it in each.scripts} for each in (old, new))
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) != after.get(name):
            yield (
                f"the script {name} has sha256 {_shorten(after.get(name))}, "
                f"approved was {_shorten(before.get(name))}"
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
