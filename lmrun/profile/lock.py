"""The lock file: what a profile meant when it was locked, to the byte. Values and their text; it
reads no file of a model and knows no machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from lmrun.errors import LockMismatch

Role = Literal["model", "part", "adapter", "mmproj", "draft_model"]


class LockedFile(msgspec.Struct, frozen=True):
    """A file of a model. `source`: as the profile has it; `name`: the file's own; `size` in bytes,
    `sha256` of its content in hex. `revision`: what a remote source was resolved to.

    `role`: `part` is a later part of a split model.
    """

    role: Role
    name: str
    source: str
    revision: str | None
    size: int
    sha256: str


class LockedModel(msgspec.Struct, frozen=True):
    """`chat_template`: sha256 of the template that is used, in hex: of the profile's own where it
    has one, else of the text in the model's file; None where there is none."""

    engine: str
    chat_template: str | None
    files: tuple[LockedFile, ...]


class LockedServer(msgspec.Struct, frozen=True):
    """An MCP server as somebody approved it. `identity`: sha256, in hex, of what is started or
    called; None where it cannot be found. `tools`: by name, sha256 of what each approved tool says
    of itself."""

    identity: str | None
    tools: dict[str, str]


class Lock(msgspec.Struct, frozen=True):
    """`packages`: versions of the distributions that lmrun runs on, by name; `engines`: versions
    of the engines that the models need; `models` by model key; `mcp_servers` by name."""

    lmrun: str
    packages: dict[str, str]
    engines: dict[str, str]
    models: dict[str, LockedModel]
    version: Literal[1] = 1
    mcp_servers: dict[str, LockedServer] = {}


Places = Mapping[tuple[str, str, str], Path]
"""(model key, source, file name) → where the file lies on this machine."""


def lock_path(profile: Path) -> Path:
    """Beside the profile: `p.yaml` has `p.yaml.lock`."""
    return profile.with_name(f"{profile.name}.lock")


def write_lock(lock: Lock) -> str:
    """As JSON with sorted keys: the same lock is the same text."""
    content = msgspec.json.format(msgspec.json.encode(lock, order="deterministic"), indent=2)
    return content.decode() + "\n"


def parse_lock(content: bytes, where: Path) -> Lock:
    """Raises LockMismatch for what is no lock file of this version."""
    try:
        return msgspec.json.decode(content, type=Lock)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LockMismatch(
            f"{where} is no lock file that this lmrun understands: {error}.",
            hint="`lmrun lock PROFILE` writes it anew.",
        ) from error


def compare(locked: Lock, found: Lock, places: Places) -> tuple[str, ...]:
    """Every difference in words, what was locked first; empty when there is none.

    `places`: of the files of `found`. A locked file that `found` lacks is named, too.
    """
    return (
        *_compare_versions("lmrun", {"lmrun": locked.lmrun}, {"lmrun": found.lmrun}),
        *_compare_versions("package", locked.packages, found.packages),
        *_compare_versions("engine", locked.engines, found.engines),
        *(
            line
            for key in _keys(locked, found)
            for line in _compare_model(key, locked, found, places)
        ),
        *(
            line
            for name in sorted(locked.mcp_servers.keys() | found.mcp_servers.keys())
            for line in _compare_server(
                name, locked.mcp_servers.get(name), found.mcp_servers.get(name)
            )
        ),
    )


def require_same(locked: Lock, found: Lock, places: Places, where: Path) -> None:
    """Raises LockMismatch with every difference."""
    differences = compare(locked, found, places)
    if differences:
        raise LockMismatch(
            "\n".join([f"This is not what {where} pins:", *(f"  {it}" for it in differences)]),
            hint="Restore what was locked, or run `lmrun lock` to pin what is here now.",
        )


def _keys(locked: Lock, found: Lock) -> list[str]:
    return sorted(locked.models.keys() | found.models.keys())


def _compare_versions(
    kind: str, locked: Mapping[str, str], found: Mapping[str, str]
) -> Iterator[str]:
    for name in sorted(locked.keys() | found.keys()):
        ours, theirs = found.get(name), locked.get(name)
        if ours != theirs:
            what = name if kind == name else f"{kind} {name}"
            yield f"{what}: {ours or 'not installed'}, locked is {theirs or 'none'}"


def _compare_model(key: str, locked: Lock, found: Lock, places: Places) -> Iterator[str]:
    theirs, ours = locked.models.get(key), found.models.get(key)
    if theirs is None or ours is None:
        yield f"models.{key}: {'not in the lock file' if ours else 'locked, not in the profile'}"
        return
    if ours.engine != theirs.engine:
        yield f"models.{key}: runs on {ours.engine}, locked is {theirs.engine}"
    if ours.chat_template != theirs.chat_template:
        yield (
            f"models.{key}: its chat template has sha256 {ours.chat_template or 'none'}, "
            f"locked is {theirs.chat_template or 'none'}"
        )
    wanted = {(it.role, it.source, it.name): it for it in theirs.files}
    present = {(it.role, it.source, it.name): it for it in ours.files}
    for identity in sorted(wanted.keys() | present.keys()):
        _, source, name = identity
        yield from _compare_file(
            key, wanted.get(identity), present.get(identity), places.get((key, source, name))
        )


def _compare_server(
    name: str, locked: LockedServer | None, found: LockedServer | None
) -> Iterator[str]:
    """A tool that is locked and was not approved here is no difference: nobody can use it."""
    what = f"mcp_servers.{name}"
    if locked is None or found is None:
        yield f"{what}: {'not in the lock file' if found else 'locked, not in the profile'}"
        return
    if found.identity is None:
        yield f"{what}: its program is not here"
    elif found.identity != locked.identity:
        yield f"{what}: what is started has sha256 {found.identity}, locked is {locked.identity}"
    for tool, digest in sorted(found.tools.items()):
        theirs = locked.tools.get(tool)
        if digest != theirs:
            yield f"{what}: approved tool {tool} has sha256 {digest}, locked is {theirs or 'none'}"


def _compare_file(
    key: str, locked: LockedFile | None, found: LockedFile | None, place: Path | None
) -> Iterator[str]:
    if found is None:
        if locked is not None:
            yield f"models.{key}: {locked.role} {locked.name} ({locked.source}) is not here"
        return
    what = f"models.{key}: {found.role} {place or found.name}"
    if locked is None:
        yield f"{what} ({found.source}) is not in the lock file"
        return
    if found.size != locked.size:
        yield f"{what}: has {found.size} bytes, locked are {locked.size}"
    if found.sha256 != locked.sha256:
        yield f"{what}: has sha256 {found.sha256}, locked is {locked.sha256}"
    if found.revision != locked.revision:
        yield f"{what}: is revision {found.revision}, locked is {locked.revision}"
