"""What a tool says of itself: the text that somebody agrees to, its hash, and what is hidden in it.

Pure. It knows no server and nobody's consent.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

_CONTEXT_LINES = 2
_HARMLESS = "\n\t"
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\u2800")
"""Shown as nothing, though their category is that of letters or marks."""


def canonical(value: Any) -> bytes:
    """JSON with sorted keys, no spaces, and ASCII only: the same value is the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def digest_of(value: Any) -> str:
    """sha256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def show_definition(definition: Mapping[str, Any]) -> str:
    """For a person: the description as it reads, the rest as JSON; nothing in it stays hidden."""
    rest = {key: value for key, value in definition.items() if key not in ("name", "description")}
    parts = [str(definition.get("description") or "(no description)")]
    if rest:
        parts.append(json.dumps(rest, indent=2, ensure_ascii=False, sort_keys=True))
    return reveal("\n".join(parts))


def find_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """The lines of `show_definition` that have changed, with those around them, as a diff."""
    before, after = show_definition(old).splitlines(), show_definition(new).splitlines()
    lines = list(difflib.unified_diff(before, after, lineterm="", n=_CONTEXT_LINES))
    # Without the two lines that would name files.
    return tuple(line for line in lines[2:] if not line.startswith("@@"))


def reveal(text: str) -> str:
    """`text` with every character that nobody sees written as `<U+200B>`."""
    return "".join(f"<U+{ord(it):04X}>" if is_hidden(it) else it for it in text)


def find_hidden(value: Any) -> tuple[str, ...]:
    """What is hidden in the texts of `value`: `U+200B ZERO WIDTH SPACE`, each once, in order."""
    found = dict.fromkeys(it for text in _texts(value) for it in text if is_hidden(it))
    return tuple(f"U+{ord(it):04X} {unicodedata.name(it, '(no name)')}" for it in found)


def is_hidden(character: str) -> bool:
    """Whether it is shown as nothing, or changes how others are shown: zero-width and bidirectional
    characters, variation selectors, controls."""
    if character in _HARMLESS:
        return False
    number = ord(character)
    is_selector = 0xFE00 <= number <= 0xFE0F or 0xE0100 <= number <= 0xE01EF
    category = unicodedata.category(character)
    return category in ("Cc", "Cf", "Cs", "Co") or character in _INVISIBLE or is_selector


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
