"""Where a model comes from: the `source` of a profile as a value. It does not know whether
anything lies there."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lmrun.errors import SourceInvalid

MAX_MEMBER_BYTES = 1024
MAX_NAME_BYTES = 255

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
"""A distribution's name, as the packaging specifications define it."""
_VERSION = re.compile(
    r"(?:\d+!)?\d+(?:\.\d+)*(?:(?:a|b|rc)\d+)?(?:\.post\d+)?(?:\.dev\d+)?"
    r"(?:\+[a-z0-9]+(?:\.[a-z0-9]+)*)?"
)
"""A version in the normal form of PEP 440, for example `1.2rc1`."""
_FORMS = (
    "A source is `file:./model.gguf` (relative to the profile) or "
    "`package:NAME==VERSION/path/in/package.gguf`."
)


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file of the user's. `path` is absolute."""

    path: Path


@dataclass(frozen=True, slots=True)
class PackageSource:
    """The file `member` inside a distribution on the Python package index."""

    distribution: str
    version: str
    member: str

    def __str__(self) -> str:
        return f"package:{self.distribution}=={self.version}/{self.member}"


Source = FileSource | PackageSource


def parse_source(text: str, base_dir: Path) -> Source:
    """A profile's `source`; a relative file lies under `base_dir`. Raises SourceInvalid."""
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in ("file", "package", "hf"):
        raise SourceInvalid(f"{text!r} is not a source.", hint=_FORMS)
    if scheme == "hf":
        raise SourceInvalid(
            f"{text!r}: the hub is not a source yet, it comes with model downloads.", hint=_FORMS
        )
    if scheme == "file":
        return FileSource(_parse_file(text, rest, base_dir))
    return _parse_package(text, rest)


def check_source(text: str) -> str:
    """`text`, when `parse_source` takes it. Raises ValueError, without the value, which may come
    out of a variable."""
    try:
        parse_source(text, Path("/"))
    except SourceInvalid as error:
        raise ValueError(f"is no source that lmrun understands. {error.hint}") from None
    return text


def check_member(name: str) -> PurePosixPath:
    """A relative path that cannot leave the directory it is joined to. Raises SourceInvalid."""
    reason = _find_fault(name)
    if reason is not None:
        raise SourceInvalid(
            f"{name[:80]!r} cannot name a file in a package: {reason}.",
            hint="Write a plain relative path with forward slashes, like `folder/model.gguf`.",
        )
    return PurePosixPath(name)


def _parse_file(text: str, rest: str, base_dir: Path) -> Path:
    has_controls = any(ord(character) < 32 for character in rest)
    if not rest or rest.endswith("/") or has_controls or _has_surrogates(rest):
        raise SourceInvalid(f"{text!r} names no file.", hint=_FORMS)
    if rest.startswith("//") and not rest.startswith("///"):
        raise SourceInvalid(
            f"{text!r} names another machine.",
            hint="Write `file:/absolute/path.gguf` or `file:./relative.gguf`.",
        )
    path = Path(os.path.expanduser(rest.removeprefix("//")))
    return Path(os.path.abspath(base_dir / path))


def _parse_package(text: str, rest: str) -> PackageSource:
    requirement, slash, member = rest.partition("/")
    name, equals, version = requirement.partition("==")
    if not (slash and equals and _NAME.fullmatch(name) and len(name) <= MAX_NAME_BYTES):
        raise SourceInvalid(
            f"{text!r} is not a package source.",
            hint="Write `package:NAME==VERSION/path/in/package.gguf`, with the exact version.",
        )
    if not _VERSION.fullmatch(version) or len(version) > MAX_NAME_BYTES:
        raise SourceInvalid(
            f"{text!r}: {version!r} is not an exact version.",
            hint="Write it as the index does, for example `==0.1.2`; ranges and `*` do not pin.",
        )
    return PackageSource(name, version, str(check_member(member)))


def _find_fault(name: str) -> str | None:
    """Why `name` is no plain relative path, or None."""
    parts = name.split("/")
    faults = {
        "it is empty": not name,
        "it is too long": _size(name) > MAX_MEMBER_BYTES
        or any(_size(part) > MAX_NAME_BYTES for part in parts),
        "it is absolute": name.startswith("/"),
        "it has control characters": any(ord(character) < 32 for character in name),
        "it has a backslash, colon or percent sign": any(mark in name for mark in "\\:%"),
        "it has an empty, `.` or `..` part": any(part in ("", ".", "..") for part in parts),
        "it is not valid text": _has_surrogates(name),
    }
    return next((reason for reason, is_so in faults.items() if is_so), None)


def _size(name: str) -> int:
    return len(name.encode("utf-8", "surrogatepass"))


def _has_surrogates(text: str) -> bool:
    return any(0xD800 <= ord(character) < 0xE000 for character in text)
