"""Where model files lie on this machine: the store, LM Studio's folder, Hugging Face's cache.

It finds files and opens none of them. Nothing outside the store is ever written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmrun.store.home import Home

Origin = Literal["lmrun", "lmstudio", "huggingface"]

MAX_DEPTH = 5
"""publisher / model / and what repositories nest below."""
MAX_SETTINGS_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A .gguf file. `publisher` and `model` are its folders' names, empty where there are none."""

    path: Path
    origin: Origin
    publisher: str
    model: str


def find_files(home: Home, environment: Mapping[str, str]) -> Iterator[FoundFile]:
    """Every .gguf file, the store's first; each once, under the first name it is found by."""
    user_home = Path(environment.get("HOME") or Path.home())
    seen: set[tuple[int, int]] = set()
    for file in (
        *_find_published(home.models, "lmrun"),
        *_find_lm_studio(user_home),
        *_find_hugging_face(_hub_cache(environment, user_home)),
    ):
        try:
            found = file.path.stat()
        except OSError:
            # A link whose target is gone, or a file that went away just now: no model.
            continue
        if (found.st_dev, found.st_ino) not in seen:
            seen.add((found.st_dev, found.st_ino))
            yield file


def find_publisher(path: Path, home: Home, environment: Mapping[str, str]) -> str | None:
    """Who published the file, by its folder; None outside the places where models are kept."""
    user_home = Path(environment.get("HOME") or Path.home())
    for root in (home.models, *_lm_studio_folders(user_home)):
        if path.is_relative_to(root) and len(parts := path.relative_to(root).parts) > 2:
            return parts[0]
    hub = _hub_cache(environment, user_home)
    if path.is_relative_to(hub):
        _, *names = path.relative_to(hub).parts[0].split("--")
        return names[0] if len(names) > 1 else None
    return None


def _find_published(root: Path, origin: Origin) -> Iterator[FoundFile]:
    """Files as `<publisher>/<model>/<file>`, LM Studio's layout and ours."""
    for path in _walk(root, MAX_DEPTH):
        folders = path.relative_to(root).parts[:-1]
        yield FoundFile(path, origin, *([*folders[:2], "", ""][:2]))


def _find_lm_studio(user_home: Path) -> Iterator[FoundFile]:
    for folder in _lm_studio_folders(user_home):
        yield from _find_published(folder, "lmstudio")


def _lm_studio_folders(user_home: Path) -> Iterator[Path]:
    """The models folder of each LM Studio home, wherever its settings put it."""
    homes = [user_home / ".lmstudio", user_home / ".cache" / "lm-studio"]
    pointer = _read_small(user_home / ".lmstudio-home-pointer")
    if pointer and pointer.strip():
        homes.insert(0, Path(pointer.strip()))
    for folder in dict.fromkeys(homes):
        yield folder / "models"
        try:
            settings = json.loads(_read_small(folder / "settings.json") or "{}")
        except ValueError:
            continue
        moved = settings.get("downloadsFolder") if isinstance(settings, dict) else None
        if isinstance(moved, str) and os.path.isabs(moved):
            yield Path(moved)


def _find_hugging_face(hub: Path) -> Iterator[FoundFile]:
    """`models--<org>--<name>/snapshots/<commit>/<file>`, each a link into `blobs/`."""
    for repository in _folders(hub):
        kind, *names = repository.name.split("--")
        if kind != "models" or not names:
            continue
        publisher = names[0] if len(names) > 1 else ""
        for snapshot in _folders(repository / "snapshots"):
            for path in _walk(snapshot, MAX_DEPTH):
                yield FoundFile(path, "huggingface", publisher, "--".join(names[1:] or names))


def _hub_cache(environment: Mapping[str, str], user_home: Path) -> Path:
    """As huggingface_hub finds it."""
    if environment.get("HF_HUB_CACHE"):
        return Path(environment["HF_HUB_CACHE"]).expanduser()
    if environment.get("HF_HOME"):
        return Path(environment["HF_HOME"]).expanduser() / "hub"
    cache = environment.get("XDG_CACHE_HOME") or user_home / ".cache"
    return Path(cache) / "huggingface" / "hub"


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Files ending in .gguf, sorted; links are followed, `depth` ends a circle of them."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        # Not there, or not ours to look into.
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.name.lower().endswith(".gguf") and entry.is_file():
            yield Path(entry.path)
        elif depth > 1 and entry.is_dir():
            yield from _walk(Path(entry.path), depth - 1)


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []


def _read_small(path: Path) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(MAX_SETTINGS_BYTES)
    except (OSError, UnicodeDecodeError):
        return None
