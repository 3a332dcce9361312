"""Fields that were changed elsewhere, written into the files that last set them.

Pure: texts in, texts out. It knows no field by name and no server.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmrun.profile.references import Reference, ReferenceInvalid, parse_references
from lmrun.profile.text import nodes
from lmrun.profile.text.files import ReadText
from lmrun.profile.text.nodes import format_path
from lmrun.profile.text.overlay import read_overlaid
from lmrun.profile.writing.edit import EditRefused, set_value

Field = nodes.Path
"""Where a field is in the profile: keys and list indexes from the top."""


@dataclass(frozen=True, slots=True)
class WrittenBack:
    """`texts`: the new text of each file that changes. `files`: where each field was written.
    `refused`: why one was not."""

    texts: Mapping[Path, str]
    files: Mapping[Field, Path]
    refused: Mapping[Field, str]


def write_back(
    root: Path, texts: Mapping[Path, str], fields: Sequence[tuple[Field, Any]]
) -> WrittenBack:
    """The profile `root` with each of `fields` set to its value, as plain data.

    A field goes into the file that last set it, or that last set what it belongs to. A field
    whose text is or holds a reference (`${…}`) is refused: what stands there is meant to come from
    elsewhere. `texts`: the profile's files as they were accepted.
    """
    tree = read_overlaid(root, _reader(texts)).root
    edited: dict[Path, str] = {}
    files: dict[Field, Path] = {}
    refused: dict[Field, str] = {}
    for field, value in fields:
        try:
            if tree is None:
                raise EditRefused("the profile cannot be read")
            file = _find_file(tree, field)
            text = edited.get(file, texts[file])
            edited[file] = set_value(text, field, _escape(value))
            files[field] = file
        except EditRefused as refusal:
            refused[field] = str(refusal)
    changed = {file: text for file, text in edited.items() if text != texts[file]}
    return WrittenBack(changed, files, refused)


def _find_file(tree: nodes.Mapping, field: Field) -> Path:
    """Of the deepest part of the field that is written. Raises EditRefused for a reference."""
    node: nodes.Node = tree
    for part in field:
        below = _child(node, part)
        if below is None:
            break
        node = below
    else:
        if any(map(_is_reference, _scalars(node))):
            raise EditRefused(
                f"`{format_path(field)}` is a reference (`${{…}}`); what it names has to change"
            )
    return Path(node.position.file)


def _child(node: nodes.Node, part: str | int) -> nodes.Node | None:
    if isinstance(node, nodes.Mapping) and part in node.entries:
        return node.entries[str(part)].node
    if isinstance(node, nodes.Sequence) and isinstance(part, int) and part < len(node.items):
        return node.items[part]
    return None


def _scalars(node: nodes.Node) -> Iterator[nodes.Scalar]:
    if isinstance(node, nodes.Scalar):
        yield node
    elif isinstance(node, nodes.Mapping):
        for entry in node.entries.values():
            yield from _scalars(entry.node)
    else:
        for item in node.items:
            yield from _scalars(item)


def _is_reference(node: nodes.Scalar) -> bool:
    try:
        parts = parse_references(node.value) if isinstance(node.value, str) else []
    except ReferenceInvalid:
        return True
    return any(isinstance(part, Reference) for part in parts)


def _escape(value: Any) -> Any:
    """So that no text of it is taken for a reference."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, dict):
        return {key: _escape(item) for key, item in value.items()}
    return [_escape(item) for item in value] if isinstance(value, list | tuple) else value


def _reader(texts: Mapping[Path, str]) -> ReadText:
    def read(path: Path) -> str:
        if path not in texts:
            raise FileNotFoundError(errno.ENOENT, "not part of the profile", str(path))
        return texts[path]

    return read
