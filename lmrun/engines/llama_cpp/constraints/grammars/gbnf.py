"""GBNF, llama.cpp's grammar notation (its grammars/README.md), read into rules. No recursion.

Every group in parentheses becomes a rule of its own, so what comes out has no depth. It knows no
other notation. Line breaks do not matter here except that a name before `::=` begins a rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lmrun.engines.llama_cpp.constraints.refusals import refuse

MAX_RULES = 5000
MAX_NESTING = 200
MAX_ITEMS = 20_000
MAX_ALTERNATIVES = 1000
MAX_REPETITIONS = 2000
ROOT = "root"

_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]+|\#[^\r\n]*)"
    r"|(?P<define>::=)"
    r"|(?P<name>[A-Za-z0-9_-]+)"
    r'|(?P<text>"(?:[^"\\\r\n]|\\.)*")'
    r"|(?P<set>\[(?:[^\]\\\r\n]|\\.)*\])"
    r"|(?P<any>\.)"
    r"|(?P<bar>\|)|(?P<open>\()|(?P<close>\))"
    r"|(?P<repeat>[*+?]|\{\s*\d+\s*(?:,\s*\d*\s*)?\})"
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([\s\S]))")
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n", **{mark: mark for mark in '\\"[]-'}}
_REPEATS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


@dataclass(frozen=True, slots=True)
class Characters:
    """One character out of `ranges` of code points, or (`negated`) out of all others."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """Something `least` to `most` times (None: without end). A str names a rule."""

    what: str | Characters
    least: int = 1
    most: int | None = 1


Alternatives = list[list[Item]]


@dataclass(slots=True)
class _Reader:
    """`open_rules`: the rule being read, and the groups in it; `line` for messages."""

    rules: dict[str, Alternatives] = field(default_factory=dict)
    open_rules: list[str] = field(default_factory=list)
    last: list[Item] = field(default_factory=list)
    groups: int = 0
    items: int = 0
    line: int = 1

    def error(self, message: str) -> Exception:
        return refuse(f"the grammar {message}", at=f"line {self.line}")


def read_gbnf(text: str) -> dict[str, Alternatives]:
    """Rules by name, `root` among them. Raises InvalidParameter where the text is no grammar.

    Rules that came of groups have names with a dot, which no other name has.
    """
    reader = _Reader()
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise reader.error(f"cannot be read from `{text[position : position + 20]}` on")
        kind, token = str(found.lastgroup), found[0]
        if kind == "name" and _is_definition(text, found.end()):
            _begin_rule(token, reader)
        elif kind not in ("space", "define"):
            _read_token(kind, token, reader)
        reader.line += token.count("\n")
        position = found.end()
    _end_rule(reader)
    _require_defined(reader)
    return reader.rules


def _is_definition(text: str, position: int) -> bool:
    while position < len(text) and text[position] in " \t":
        position += 1
    return text.startswith("::=", position)


def _begin_rule(name: str, reader: _Reader) -> None:
    _end_rule(reader)
    if name in reader.rules:
        raise reader.error(f"defines the rule `{name[:60]}` twice")
    _open_rule(name, reader)


def _open_rule(name: str, reader: _Reader) -> None:
    reader.rules[name] = [[]]
    reader.open_rules.append(name)
    reader.last = reader.rules[name][-1]
    if len(reader.rules) > MAX_RULES:
        raise reader.error(f"has more than {MAX_RULES} rules and groups")
    if len(reader.open_rules) > MAX_NESTING + 1:
        raise reader.error(f"is nested deeper than {MAX_NESTING}")


def _end_rule(reader: _Reader) -> None:
    if len(reader.open_rules) > 1:
        raise reader.error("leaves a parenthesis open")
    reader.open_rules.clear()


def _read_token(kind: str, token: str, reader: _Reader) -> None:
    if not reader.open_rules:
        raise reader.error(f"must begin with a rule such as `root ::= …`, not with `{token[:20]}`")
    reader.items += len(token) if kind == "text" else 1
    if reader.items > MAX_ITEMS:
        raise reader.error(f"has more than {MAX_ITEMS} names, characters and sets")
    if kind == "name":
        reader.last.append(Item(token))
    elif kind == "text":
        reader.last.extend(_read_text(token, reader))
    elif kind == "set":
        reader.last.append(Item(_read_set(token, reader)))
    elif kind == "any":
        reader.last.append(Item(Characters((), negated=True)))
    elif kind == "repeat":
        _repeat(token, reader)
    else:
        _read_structure(kind, reader)


def _read_structure(kind: str, reader: _Reader) -> None:
    if kind == "bar":
        reader.last = []
        alternatives = reader.rules[reader.open_rules[-1]]
        alternatives.append(reader.last)
        if len(alternatives) > MAX_ALTERNATIVES:
            raise reader.error(f"has more than {MAX_ALTERNATIVES} alternatives in one place")
    elif kind == "open":
        reader.groups += 1
        name = f"{reader.open_rules[0]}.{reader.groups}"
        reader.last.append(Item(name))
        _open_rule(name, reader)
    else:
        if len(reader.open_rules) == 1:
            raise reader.error("closes a parenthesis that is not open")
        reader.open_rules.pop()
        reader.last = reader.rules[reader.open_rules[-1]][-1]


def _repeat(token: str, reader: _Reader) -> None:
    """A text is repeated as a whole, as in llama.cpp; it has become a rule for that."""
    if not reader.last:
        raise reader.error(f"repeats nothing with `{token}`")
    least, most = _REPEATS.get(token) or _read_bounds(token, reader)
    item = reader.last[-1]
    if (item.least, item.most) != (1, 1):
        raise reader.error(f"repeats twice with `{token}`; put parentheses around the first")
    reader.last[-1] = Item(item.what, least, most)


def _read_bounds(token: str, reader: _Reader) -> tuple[int, int | None]:
    first, comma, second = token.strip("{} \t\r\n").partition(",")
    least = int(first.strip()[:10])
    most = least if not comma else int(second.strip()[:10]) if second.strip() else None
    if max(least, most or 0) > MAX_REPETITIONS:
        raise reader.error(f"repeats more than {MAX_REPETITIONS} times")
    if most is not None and most < least:
        raise reader.error(f"has a repetition `{token}` whose least is over its most")
    return least, most


def _read_text(token: str, reader: _Reader) -> list[Item]:
    points = [ord(c) for c, _ in _read_characters(token[1:-1], reader)]
    items = [Item(Characters(((point, point),))) for point in points]
    if len(items) == 1:
        return items
    reader.groups += 1
    name = f"{reader.open_rules[0]}.{reader.groups}"
    reader.rules[name] = [items]
    return [Item(name)]


def _read_set(token: str, reader: _Reader) -> Characters:
    negated = token.startswith("[^")
    characters = _read_characters(token[1 + negated : -1], reader)
    ranges: list[tuple[int, int]] = []
    index = 0
    while index < len(characters):
        first = last = ord(characters[index][0])
        if characters[index + 1 : index + 2] == [("-", False)] and index + 2 < len(characters):
            last = ord(characters[index + 2][0])
            index += 2
        if last < first:
            raise reader.error(f"has a reversed range in `{token[:40]}`")
        ranges.append((first, last))
        index += 1
    if not ranges and not negated:
        raise reader.error("has an empty set of characters, which matches nothing")
    return Characters(tuple(ranges), negated)


def _read_characters(text: str, reader: _Reader) -> list[tuple[str, bool]]:
    """Characters of a text or a set, and whether each was escaped."""
    characters: list[tuple[str, bool]] = []
    position = 0
    while position < len(text):
        found = _ESCAPE.match(text, position)
        if found is None:
            characters.append((_require_character(ord(text[position]), reader), False))
            position += 1
            continue
        digits = found[1] or found[2] or found[3]
        if digits is None and found[4] not in _ESCAPED:
            raise reader.error(f"has an unknown escape `{found[0]}`")
        point = int(digits, 16) if digits else ord(_ESCAPED[found[4]])
        characters.append((_require_character(point, reader), True))
        position = found.end()
    return characters


def _require_character(point: int, reader: _Reader) -> str:
    if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
        raise reader.error(f"holds U+{point:04X}, which is no character")
    return chr(point)


def _require_defined(reader: _Reader) -> None:
    if ROOT not in reader.rules:
        raise refuse(f"the grammar has no rule `{ROOT}`, where every answer begins")
    for name, alternatives in reader.rules.items():
        for item in (item for items in alternatives for item in items):
            if isinstance(item.what, str) and item.what not in reader.rules:
                where = f"rule {name.partition('.')[0][:60]}"
                raise refuse(f"the grammar uses `{item.what[:60]}`, which is no rule", at=where)
