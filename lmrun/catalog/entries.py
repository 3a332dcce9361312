"""From files to models: parts joined, projectors paired, keys given. Pure.

It does not know where the files were found or how they were read.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lmrun.catalog.folders import FoundFile, Origin
from lmrun.catalog.gguf import parse_part_name
from lmrun.catalog.gguf_header import GgufHeader, ModelType
from lmrun.catalog.index import IndexedFile

_QUANTIZATION = re.compile(
    r"[-._](?:(?:i1|ud)[-._])?(?:i?q\d(?:_[0-9a-z]+)*|tq\d_\d|f16|f32|bf16|fp16|fp32|mxfp4|nvfp4)$"
)
_GENERIC_NAMES = ("", "model", "ggml-model", "gguf-model")
_NOT_IN_A_KEY = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A model on disk. `size`: bytes of all its files. `mmproj`: the projector that gives it sight.

    `problem` says why it cannot be loaded; what its header would have told is None then.
    """

    key: str
    path: Path
    publisher: str
    origin: Origin
    size: int
    type: ModelType | None = None
    architecture: str | None = None
    name: str | None = None
    size_label: str | None = None
    quantization: str | None = None
    context_length: int | None = None
    has_chat_template: bool = False
    mmproj: Path | None = None
    problem: str | None = None


Known = tuple[FoundFile, IndexedFile]


def make_entries(files: Iterable[Known]) -> tuple[CatalogEntry, ...]:
    """The models among `files`, sorted by key; broken ones with their reason."""
    folders: dict[Path, list[Known]] = defaultdict(list)
    for known in files:
        folders[known[0].path.parent].append(known)
    entries = [entry for folder in folders.values() for entry in _make_folder(folder)]
    return tuple(sorted(_give_keys(entries), key=lambda entry: entry.key))


def _make_folder(files: Sequence[Known]) -> list[CatalogEntry]:
    projectors = [known for known in files if _is_projector(known)]
    models = [known for known in files if known not in projectors and _is_model(known)]
    entries = [_make_entry(group) for group in _group_parts(models)]
    return [_pair(entry, projectors) for entry in entries]


def _is_projector(known: Known) -> bool:
    file, indexed = known
    return indexed.header is not None and (
        indexed.header.role == "mmproj" or file.path.name.startswith("mmproj")
    )


def _is_model(known: Known) -> bool:
    """A model, a part of one, or a broken file that may have been one."""
    header = known[1].header
    return header is None or header.role in ("model", "part")


def _group_parts(files: Sequence[Known]) -> list[list[Known]]:
    """Files that belong together, the first part first."""
    groups: dict[tuple[str, int], list[Known]] = defaultdict(list)
    for known in files:
        name = known[0].path.name
        part = parse_part_name(name)
        groups[(part[0], part[2]) if part else (name, 0)].append(known)
    return [sorted(group, key=lambda known: known[0].path.name) for group in groups.values()]


def _make_entry(parts: Sequence[Known]) -> CatalogEntry:
    file, indexed = parts[0]
    header, problem = indexed.header, _find_problem(parts)
    entry = CatalogEntry(
        key=_make_key(file, header),
        path=file.path,
        publisher=file.publisher,
        origin=file.origin,
        size=sum(part.size for _, part in parts),
        problem=problem,
    )
    if header is None or problem is not None:
        return entry
    return replace(
        entry,
        type=header.type,
        architecture=header.architecture,
        name=header.name,
        size_label=header.size_label,
        quantization=header.quantization,
        context_length=header.context_length,
        has_chat_template=indexed.has_chat_template,
    )


def _find_problem(parts: Sequence[Known]) -> str | None:
    for file, indexed in parts:
        if indexed.problem is not None:
            return indexed.problem
        part = parse_part_name(file.path.name)
        if part is None and indexed.header is not None and indexed.header.role == "part":
            return f"{file.path}: is one part of a split model, without the others."
    numbered = parse_part_name(parts[0][0].path.name)
    if numbered is not None:
        there = {part[1] for file, _ in parts if (part := parse_part_name(file.path.name))}
        missing = sorted(set(range(1, numbered[2] + 1)) - there)
        if missing:
            return f"{parts[0][0].path}: part {missing[0]} of {numbered[2]} is missing."
    return None


def _pair(entry: CatalogEntry, projectors: Sequence[Known]) -> CatalogEntry:
    """Give a language model the projector beside it; of several, the one named most like it."""
    if not projectors or entry.problem is not None or entry.type == "embedding":
        return entry
    file, indexed = max(projectors, key=lambda known: _likeness(entry.path, known[0].path))
    return replace(entry, type="vlm", mmproj=file.path, size=entry.size + indexed.size)


def _likeness(model: Path, projector: Path) -> tuple[int, bool]:
    words = set(re.split(r"[-._]", model.stem.lower()))
    common = words & set(re.split(r"[-._]", projector.stem.lower()))
    return len(common), "f16" in projector.stem.lower()


def _make_key(file: FoundFile, header: GgufHeader | None) -> str:
    """The file's name in lower case, without quantisation; the folder's where that says nothing."""
    part = parse_part_name(file.path.name)
    stem = _QUANTIZATION.sub("", (part[0] if part else file.path.stem).lower())
    if stem in _GENERIC_NAMES:
        stem = file.model.lower().removesuffix("-gguf") or (header and header.name) or "model"
    return _NOT_IN_A_KEY.sub("-", stem.lower()).strip("-._") or "model"


def _give_keys(entries: Sequence[CatalogEntry]) -> list[CatalogEntry]:
    """Make keys unique: by quantisation, then publisher, then number, each only where needed."""
    entries = _qualify(entries, lambda entry: f"{entry.key}@{(entry.quantization or 'x').lower()}")
    entries = _qualify(
        entries,
        lambda entry: f"{_NOT_IN_A_KEY.sub('-', entry.publisher.lower()) or 'local'}/{entry.key}",
    )
    counts: Counter[str] = Counter()
    numbered = []
    for entry in sorted(entries, key=lambda entry: (entry.key, str(entry.path))):
        counts[entry.key] += 1
        suffix = "" if counts[entry.key] == 1 else f":{counts[entry.key]}"
        numbered.append(replace(entry, key=entry.key + suffix))
    return numbered


def _qualify(
    entries: Sequence[CatalogEntry], qualified: Callable[[CatalogEntry], str]
) -> list[CatalogEntry]:
    """Give a longer key to those that share theirs."""
    counts = Counter(entry.key for entry in entries)
    return [
        replace(entry, key=qualified(entry)) if counts[entry.key] > 1 else entry
        for entry in entries
    ]
