"""Random YAML documents in random styles, with what they mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

KEYS = st.one_of(
    st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True),
    st.sampled_from(["true", "1", "a b", "é", "😀", "# x", "k:", "smollm2-135m", "null", "~"]),
)
_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False),
    st.sampled_from(["off", "no", "0777", "1e3", "16MiB", "file:./x.gguf", "a: b", " #", "", "~"]),
    _TEXT,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, min_size=0, max_size=4)
    ),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(KEYS, VALUES, min_size=1, max_size=5)


@dataclass
class Writer:
    """Writes data as YAML in styles that `draw` chooses; every comment is another one."""

    draw: st.DrawFn
    comments: list[str] = field(default_factory=list)

    def document(self, data: dict[str, Any]) -> str:
        lines = list(self._mapping(data, 0))
        newline = self.draw(st.sampled_from(["\n", "\r\n"]))
        end = self.draw(st.sampled_from(["", newline]))
        bom = self.draw(st.sampled_from(["", "\ufeff"]))
        return bom + newline.join(lines) + end

    def _mapping(self, data: dict[str, Any], indent: int) -> Iterator[str]:
        for key, value in data.items():
            yield from self._between(indent)
            written = f"{' ' * indent}{self._key(key)}:"
            yield from self._value(written, value, indent)

    def _list(self, data: list[Any], indent: int) -> Iterator[str]:
        for value in data:
            yield from self._between(indent)
            yield from self._value(f"{' ' * indent}-", value, indent)

    def _value(self, written: str, value: Any, indent: int) -> Iterator[str]:
        if isinstance(value, dict | list) and value and self._chance():
            yield written + self._comment()
            below = indent + self.draw(st.sampled_from([1, 2, 4]))
            yield from (
                self._mapping(value, below) if isinstance(value, dict) else self._list(value, below)
            )
        elif value is None and self._chance():
            yield written + self._comment()
        else:
            yield f"{written} {self._flow(value)}{self._comment()}"

    def _flow(self, value: Any) -> str:
        gap = self.draw(st.sampled_from(["", " "]))
        if isinstance(value, dict):
            pairs = (f"{self._key(key)}: {self._flow(item)}" for key, item in value.items())
            return "{" + gap + ", ".join(pairs) + gap + "}"
        if isinstance(value, list):
            return "[" + gap + ", ".join(map(self._flow, value)) + gap + "]"
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, float) and value in (float("inf"), float("-inf")):
            return ".inf" if value > 0 else "-.inf"
        return json.dumps(value)

    def _key(self, key: str) -> str:
        is_word = key.isascii() and key[0].islower() and key.isalnum()
        if is_word and key not in ("true", "false", "null") and self._chance():
            return key
        return self._text(key)

    def _text(self, text: str) -> str:
        if text.isprintable() and self._chance():
            return "'" + text.replace("'", "''") + "'"
        escaped = json.dumps(text, ensure_ascii=False)
        return "".join(it if it.isprintable() else _escape(it) for it in escaped)

    def _between(self, indent: int) -> Iterator[str]:
        if self._chance(4):
            yield ""
        if self._chance(4):
            yield " " * indent + self._comment(always=True).lstrip()

    def _comment(self, *, always: bool = False) -> str:
        if not always and not self._chance(3):
            return ""
        self.comments.append(f"# comment {len(self.comments)}.")
        return f"  {self.comments[-1]}"

    def _chance(self, one_in: int = 2) -> bool:
        return self.draw(st.integers(0, one_in - 1)) == 0


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\U{code:08X}" if code > 0xFFFF else f"\\u{code:04X}"


def paths(data: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Of every value in it."""
    items: Any = ()
    if isinstance(data, dict):
        items = data.items()
    elif isinstance(data, list):
        items = enumerate(data)
    for part, item in items:
        yield (*above, part)
        yield from paths(item, (*above, part))
