"""A distribution's RECORD: which files it has, with what hashes. It opens nothing.

Format: https://packaging.python.org/en/latest/specifications/recording-installed-packages/.
"""

from __future__ import annotations

import base64
import binascii
import csv
import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """`sha256` in lower-case hexadecimal; None where the RECORD gives none. `size` in bytes."""

    sha256: str | None
    size: int | None


def parse_record(text: str) -> dict[str, RecordedFile]:
    """Path → what is recorded of it; lines that make no sense are left out."""
    rows = csv.reader(text.splitlines())
    return {row[0]: _parse_row(row[1], row[2]) for row in rows if len(row) == 3}


def describe_absence(member: str, names: Iterable[str]) -> str:
    """What to write instead of `member`, as a hint."""
    models = sorted(name for name in names if name.endswith(".gguf"))
    near = difflib.get_close_matches(member, models, n=3, cutoff=0.3) or models[:3]
    return f"It has {', '.join(near)}." if near else "It has no .gguf file at all."


def _parse_row(digest: str, size: str) -> RecordedFile:
    return RecordedFile(_parse_digest(digest), int(size) if size.isdecimal() else None)


def _parse_digest(digest: str) -> str | None:
    """`sha256=<urlsafe base64 without padding>` → hexadecimal."""
    algorithm, _, encoded = digest.partition("=")
    if algorithm != "sha256":
        return None
    try:
        decoded = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except (binascii.Error, ValueError):
        return None
    return decoded.hex() if len(decoded) == 32 else None
