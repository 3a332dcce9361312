"""The models on this machine and those that can be brought here. It loads none and runs none."""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lmrun.catalog.description import ModelFile, describe_file
from lmrun.catalog.entries import CatalogEntry, make_entries
from lmrun.catalog.facts import FactBook, read_size
from lmrun.catalog.folders import find_files, find_publisher
from lmrun.catalog.gguf_header import read_header
from lmrun.catalog.index import CatalogIndex, IndexedFile
from lmrun.catalog.memory import (
    WORKER_BYTES,
    Estimate,
    LoadFiles,
    estimate_model,
    estimate_strict,
)
from lmrun.catalog.packages.fetch import (
    fetch_into_store,
    one_fetch_at_a_time,
    read_checksum,
    stored_path,
)
from lmrun.catalog.packages.installed import find_installed
from lmrun.catalog.scripted import read_scripted_bytes
from lmrun.errors import FetchFailed, ModelInvalid, SourceMissing
from lmrun.settings.load import LoadConfig
from lmrun.settings.sources import FileSource, PackageSource, Source
from lmrun.store.home import Home

_MODEL_ENDINGS = (".gguf", ".scripted.json")


@dataclass(frozen=True, slots=True)
class LocatedModel:
    """A model file as it is now; `size` (bytes) and `mtime_ns` tell whether it changes."""

    path: Path
    size: int
    mtime_ns: int


class Catalog:
    """The models of one home. `environment` says where LM Studio and Hugging Face keep theirs."""

    def __init__(self, home: Home, environment: Mapping[str, str] | None = None) -> None:
        self._home = home
        self._environment = os.environ if environment is None else environment
        self._index = CatalogIndex(home.catalog_index)
        self._described: dict[LocatedModel, ModelFile] = {}
        self._facts = FactBook()

    def locate(self, source: Source) -> LocatedModel | None:
        """Where the source's file lies; None for a package's file that must be fetched first.

        Hashes a package's file the first time it sees it. Raises SourceMissing when nothing
        usable lies where the source points.
        """
        if isinstance(source, FileSource):
            return _locate_file(source.path)
        return self._locate_installed(source) or self._locate_stored(source)

    def find(self, source: Source) -> Path | None:
        """Where the source's file lies, its content unseen; None when nothing is there.

        Raises SourceMissing for a package that is installed and has no such file.
        """
        if isinstance(source, FileSource):
            path = source.path
        else:
            installed = find_installed(source)
            path = installed.path if installed else stored_path(self._home, source)
        return path if path.is_file() else None

    async def fetch(
        self, source: PackageSource, on_progress: Callable[[int, int | None], None]
    ) -> LocatedModel:
        """Bring a package's file into the store. Raises FetchFailed and DiskFull;
        cancelling leaves nothing.

        `on_progress` receives bytes downloaded and in all (None: unknown). Of several callers one
        downloads, the others wait for it.
        """
        async with one_fetch_at_a_time(self._home, source):
            # In a thread: it may hash gigabytes.
            located = await asyncio.to_thread(self.locate, source)
            if located is None:
                await fetch_into_store(self._home, source, on_progress)
                located = await asyncio.to_thread(self.locate, source)
        if located is None:
            raise FetchFailed(
                f"{source} was stored, but the file is not what was written.",
                hint="Check the disk.",
            )
        return located

    def list(self) -> tuple[CatalogEntry, ...]:
        """Every model found on this machine, broken ones with their reason."""
        files = list(find_files(self._home, self._environment))
        entries = make_entries([(file, self._look_into(file.path)) for file in files])
        self._index.keep_only(file.path for file in files)
        self._index.save()
        return entries

    def describe(self, located: LocatedModel) -> ModelFile:
        """What the file says of itself; read once for each state it is seen in. Raises
        ModelInvalid."""
        known = self._described.get(located)
        if known is None:
            known = describe_file(located.path, located.size)
            self._described = {
                other: file for other, file in self._described.items() if other.path != located.path
            } | {located: known}
        return known

    def find_publisher(self, path: Path) -> str | None:
        """Who published the file, by the folder it lies in; None where that says nothing."""
        return find_publisher(path, self._home, self._environment)

    def estimate_memory(
        self, files: LoadFiles, load: LoadConfig, *, strict: bool = False
    ) -> Estimate:
        """Bytes of RAM for a load; `strict`: with the context of strict determinism.

        Raises ModelInvalid for a bad GGUF file. A file that is no GGUF counts with its size; a
        script with what it says that it holds, too.
        """
        if files.model.suffix.lower() != ".gguf":
            held = read_scripted_bytes(files.model)
            return Estimate(weights=read_size(files.model), compute=held, worker=WORKER_BYTES)
        facts = self._facts.read(files.model, load.num_experts)
        found = estimate_model(facts.header, facts.sizes, facts.weights, load)
        attached = [*files.adapters, *([files.mmproj] if files.mmproj else [])]
        draft = 0
        if files.draft_model is not None:
            guesser = self._facts.read(files.draft_model, load.num_experts)
            draft = estimate_model(guesser.header, guesser.sizes, guesser.weights, load).at_load
        return replace(
            found,
            attached=sum(map(read_size, attached)),
            draft=draft,
            strict=estimate_strict(facts.header, facts.sizes, load) if strict else 0,
            worker=WORKER_BYTES,
        )

    def _look_into(self, path: Path) -> IndexedFile:
        try:
            found = path.stat()
        except OSError as error:
            return IndexedFile(0, 0, None, False, f"{path}: cannot be read: {error.strerror}.")
        known = self._index.find(path, found)
        if known is None:
            known = _index_file(path, found)
            self._index.remember(path, known)
        return known

    def _locate_installed(self, source: PackageSource) -> LocatedModel | None:
        installed = find_installed(source)
        if installed is None:
            return None
        located = self._verify(installed.path, installed.sha256)
        if located is None:
            raise SourceMissing(
                f"{installed.path} is damaged: it does not have the hash that its package records.",
                hint=f"Reinstall {source.distribution}=={source.version}, or uninstall it: "
                "it is then fetched.",
            )
        return located

    def _locate_stored(self, source: PackageSource) -> LocatedModel | None:
        """A damaged or unverifiable file counts as missing: fetching it again repairs it."""
        path = stored_path(self._home, source)
        sha256 = read_checksum(path)
        return None if sha256 is None else self._verify(path, sha256)

    def _verify(self, path: Path, sha256: str) -> LocatedModel | None:
        """The file, if it has that hash; hashed again only when size or time have changed."""
        try:
            with open(path, "rb") as file:
                found = os.fstat(file.fileno())
                if not self._index.is_verified(path, found, sha256):
                    if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                        return None
                    self._index.remember_verified(path, found, sha256)
                    self._index.save()
        except OSError:
            return None
        return LocatedModel(path, found.st_size, found.st_mtime_ns)


def _locate_file(path: Path) -> LocatedModel:
    try:
        found = path.stat()
    except OSError as error:
        raise SourceMissing(
            f"{path}: {error.strerror}.", hint=_suggest(path.parent, path.name)
        ) from error
    if stat.S_ISDIR(found.st_mode):
        raise SourceMissing(f"{path} is a directory.", hint=_suggest(path, ""))
    if not stat.S_ISREG(found.st_mode) or not os.access(path, os.R_OK):
        raise SourceMissing(f"{path} is not a file that you may read.", hint="Check its access.")
    return LocatedModel(path, found.st_size, found.st_mtime_ns)


def _suggest(folder: Path, name: str) -> str:
    """Which models lie in `folder`, those with a name like `name` first."""
    try:
        names = sorted(each for each in os.listdir(folder) if each.endswith(_MODEL_ENDINGS))
    except OSError:
        return f"There is no directory {folder}."
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names[:3]
    return f"In {folder} there is {', '.join(near)}." if near else f"{folder} holds no model."


def _index_file(path: Path, found: os.stat_result) -> IndexedFile:
    try:
        header = read_header(path)
    except ModelInvalid as error:
        return IndexedFile(found.st_size, found.st_mtime_ns, None, False, str(error))
    return IndexedFile(
        found.st_size,
        found.st_mtime_ns,
        replace(header, chat_template=None),
        header.chat_template is not None,
        None,
    )
