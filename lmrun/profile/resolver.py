"""Resolves references: a tree → plain data. It knows no field by name.

A secret field takes exactly one reference and becomes a Secret; no value is ever in a message. What
a file says is kept with the profile, but for secret and confidential fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmrun.errors import Problem
from lmrun.profile.references import Reference, ReferenceInvalid, parse_references
from lmrun.profile.shape import Shape
from lmrun.profile.text import nodes
from lmrun.profile.text.files import (
    MAX_REFERENCED_BYTES,
    ReadText,
    Unreadable,
    explain,
    read_secret_text,
)
from lmrun.profile.text.nodes import Scalar, ScalarValue, format_path
from lmrun.profile.text.scalars import parse_scalar
from lmrun.profile.text.strict_yaml import FORBIDDEN
from lmrun.settings.secret import Secret

UNRESOLVED = object()
"""Stands where a reference could not be resolved; the problem is noted already."""


@dataclass(slots=True)
class Resolver:
    """Resolves a tree's references; what it meets on the way is collected in its fields."""

    environment: Mapping[str, str]
    read: ReadText
    problems: list[Problem] = field(default_factory=list)
    texts: dict[Path, str] = field(default_factory=dict)
    """The `${file:…}` texts that were read, those of secret and confidential fields excepted."""
    written: dict[nodes.Path, str] = field(default_factory=dict)
    """What stands in the profile where a reference was resolved, secret fields excepted."""

    def resolve(self, node: nodes.Node, shape: Shape, path: nodes.Path = ()) -> Any:
        """Dicts, lists and scalars; UNRESOLVED for a value with a problem."""
        if isinstance(node, nodes.Mapping):
            return {
                key: self.resolve(entry.node, shape.child(key), (*path, key))
                for key, entry in node.entries.items()
            }
        if isinstance(node, nodes.Sequence):
            return [
                self.resolve(item, shape.child(index), (*path, index))
                for index, item in enumerate(node.items)
            ]
        if not shape.is_secret and not (isinstance(node.value, str) and "${" in node.value):
            return node.value
        try:
            if shape.is_secret:
                return self._secret(node)
            self.written[path] = str(node.value)
            return self._scalar(node, str(node.value), is_kept=not shape.is_confidential)
        except (ReferenceInvalid, ValueError) as error:
            self.problems.append(Problem(*node.position, format_path(path), str(error)))
            return UNRESOLVED

    def _scalar(self, node: Scalar, text: str, *, is_kept: bool) -> ScalarValue:
        find = self._text if is_kept else self._confidential_text
        parts = parse_references(text)
        resolved = "".join(
            find(part, node) if isinstance(part, Reference) else part for part in parts
        )
        # Unquoted and nothing but one reference: read as if its text stood in the file.
        if node.is_plain and len(parts) == 1 and isinstance(parts[0], Reference):
            return parse_scalar(resolved)
        return resolved

    def _text(self, reference: Reference, node: Scalar) -> str:
        if reference.path is None:
            return self._variable(str(reference.name), reference.default)
        path = _beside(node, reference.path)
        try:
            text = self.read(path)
        except (OSError, Unreadable) as error:
            raise ReferenceInvalid(f"{path}: {explain(error)}") from None
        if len(text.encode("utf-8", "surrogatepass")) > MAX_REFERENCED_BYTES:
            raise ReferenceInvalid(f"{path}: is larger than {MAX_REFERENCED_BYTES // 1000} kB")
        self.texts[path] = text
        return _acceptable(_without_newline(text), f"the file {path}")

    def _variable(self, name: str, default: str | None) -> str:
        # As in a shell: `:-` also replaces an empty value.
        value = self.environment.get(name)
        if default is not None:
            value = value or default
        if value is None:
            raise ReferenceInvalid(
                f"the environment variable {name} is not set; "
                f"set it, or give a default: ${{env:{name}:-…}}"
            )
        return _acceptable(value, f"the environment variable {name}")

    def _secret(self, node: Scalar) -> Secret:
        reference = _only_reference(node)
        if reference is None or reference.default is not None:
            raise ReferenceInvalid(
                "a secret must be exactly one reference, ${env:NAME} or ${file:path}; "
                "neither the value itself nor a default may stand here"
            )
        value = self._secret_text(reference, node)
        if not value:
            raise ReferenceInvalid("the secret that this reference names is empty")
        return Secret(value)

    def _secret_text(self, reference: Reference, node: Scalar) -> str:
        if reference.path is None:
            name = str(reference.name)
            if name not in self.environment:
                raise ReferenceInvalid(f"the environment variable {name} is not set; set it")
            return _acceptable(self.environment[name], f"the environment variable {name}")
        return _read_own_file(_beside(node, reference.path))

    def _confidential_text(self, reference: Reference, node: Scalar) -> str:
        if reference.path is None:
            return self._variable(str(reference.name), reference.default)
        return _read_own_file(_beside(node, reference.path))


def _read_own_file(path: Path) -> str:
    """What only its owner can read. Raises ReferenceInvalid."""
    try:
        text = read_secret_text(path)
    except (OSError, Unreadable) as error:
        raise ReferenceInvalid(f"{path}: {explain(error)}") from None
    return _acceptable(_without_newline(text), f"the file {path}")


def _only_reference(node: Scalar) -> Reference | None:
    try:
        parts = parse_references(node.value) if isinstance(node.value, str) else []
    except ReferenceInvalid:
        return None
    return parts[0] if len(parts) == 1 and isinstance(parts[0], Reference) else None


def _beside(node: Scalar, name: str) -> Path:
    return Path(node.position.file).parent / name


def _without_newline(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _acceptable(text: str, where: str) -> str:
    if bad := FORBIDDEN.search(text):
        raise ReferenceInvalid(f"{where} holds the character U+{ord(bad[0]):04X}, which is refused")
    return text
