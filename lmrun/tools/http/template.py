"""Requests with holes, and what arguments make of them. Pure; nothing is sent here.

`{name}` is an argument, `{{` and `}}` are braces. What uses an argument that a call leaves out is
left out whole: a value of a query, a header, a value of the body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from lmrun.errors import ToolInvalid

Arguments = Mapping[str, Any]

MAX_FILLED = 8192
"""Characters of a URL, or of a header; servers take no longer ones."""

_PARTS = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<name>[A-Za-z_][A-Za-z0-9_]{0,63})\}|(?P<bad>[{}])")
_URL = re.compile(r"(?P<scheme>[^:/?#]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?")
_IN_URL = re.compile(r"(?:[A-Za-z0-9._~:/@!$&'()*+,;=?-]|%[0-9A-Fa-f]{2})*")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_OWN_HEADERS = {
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
_ABSENT = object()


class ArgumentRefused(ValueError):
    """An argument that cannot stand where the template has it. The message is for the model."""


@dataclass(frozen=True, slots=True)
class Text:
    """Text with holes: literal pieces, and the names of arguments as one-element tuples."""

    pieces: tuple[str | tuple[str], ...]

    @classmethod
    def parse(cls, text: str, where: str) -> Text:
        """Raises ToolInvalid, which says `where`, but not the text: it may hold a secret."""
        pieces: list[str | tuple[str]] = []
        end = 0
        for found in _PARTS.finditer(text):
            if found["bad"]:
                raise ToolInvalid(
                    f"`{where}`: a brace stands alone, at character {found.start() + 1}.",
                    hint="An argument is `{name}`; a brace itself is written twice.",
                )
            pieces.append(text[end : found.start()])
            pieces.append((found["name"],) if found["name"] else found["brace"][0])
            end = found.end()
        pieces.append(text[end:])
        return cls(tuple(piece for piece in pieces if piece))

    @property
    def names(self) -> frozenset[str]:
        return frozenset(piece[0] for piece in self.pieces if isinstance(piece, tuple))

    @property
    def literal(self) -> str:
        """Everything but the holes."""
        return "".join(piece for piece in self.pieces if isinstance(piece, str))

    @property
    def only_name(self) -> str | None:
        """The argument, when there is nothing else."""
        is_hole = len(self.pieces) == 1 and isinstance(self.pieces[0], tuple)
        return self.pieces[0][0] if is_hole else None

    def fill(self, arguments: Arguments) -> str | None:
        """None when an argument is left out."""
        if not self.names <= arguments.keys():
            return None
        return "".join(
            piece if isinstance(piece, str) else to_text(arguments[piece[0]])
            for piece in self.pieces
        )


@dataclass(frozen=True, slots=True)
class UrlTemplate:
    """`authority`: host and port, as declared. `query`: names, with values where it has a `=`."""

    scheme: str
    authority: str
    segments: tuple[Text, ...]
    query: tuple[tuple[str, Text | None], ...]

    @classmethod
    def parse(cls, url: str) -> UrlTemplate:
        """Raises ToolInvalid."""
        found = _URL.fullmatch(url)
        scheme = found["scheme"].lower() if found else ""
        if found is None or scheme not in ("http", "https") or not found["authority"]:
            raise ToolInvalid(
                "`url` is no http or https URL.", hint="Write `https://api.example.com/{id}`."
            )
        authority, rest = found["authority"], found["rest"]
        if re.search(r"[{}@]", authority):
            raise ToolInvalid(
                "`url`: an argument or a user name stands where the host is.",
                hint="Arguments may be pieces of the path and values of the query.",
            )
        host = _AUTHORITY.fullmatch(authority)
        if host is None or int(host["port"] or 1) not in range(1, 65536):
            raise ToolInvalid(
                f"`url`: {authority[:100]!r} is no host, with or without a port.",
                hint="Write names in ASCII, and IPv6 in brackets.",
            )
        if "#" in rest:
            raise ToolInvalid("`url`: what follows `#` is never sent.", hint="Leave it out.")
        query = rest.removeprefix("?")
        segments = tuple(Text.parse(it, "url") for it in found["path"].split("/")[1:])
        pairs = tuple(_parse_pair(it) for it in query.split("&")) if query else ()
        template = cls(scheme, authority, segments, pairs)
        for text in template._texts():
            if not _IN_URL.fullmatch(text.literal):
                raise ToolInvalid(
                    f"`url`: {text.literal[:100]!r} has no place in a URL as it is.",
                    hint="Write other characters as `%20`.",
                )
        return template

    @property
    def names(self) -> frozenset[str]:
        return frozenset().union(*(text.names for text in self._texts()))

    @property
    def names_in_path(self) -> frozenset[str]:
        return frozenset().union(*(text.names for text in self.segments))

    def fill(self, arguments: Arguments) -> str:
        """Raises ArgumentRefused."""
        path = "".join(f"/{_fill_segment(segment, arguments)}" for segment in self.segments)
        pairs = []
        for name, value in self.query:
            if value is None:
                pairs.append(name)
            elif value.names <= arguments.keys():
                pairs.append(f"{name}={_fill_encoded(value, arguments)}")
        query = f"?{'&'.join(pairs)}" if pairs else ""
        url = f"{self.scheme}://{self.authority}{path}{query}"
        if len(url) > MAX_FILLED:
            raise ArgumentRefused(
                f"The URL would be {len(url)} characters long; {MAX_FILLED} are allowed."
            )
        return url

    def _texts(self) -> Iterator[Text]:
        yield from self.segments
        for name, value in self.query:
            yield Text((name,))
            if value is not None:
                yield value


@dataclass(frozen=True, slots=True)
class HeadersTemplate:
    """Headers by name."""

    values: Mapping[str, Text]

    @classmethod
    def parse(cls, headers: Mapping[str, str]) -> HeadersTemplate:
        """Raises ToolInvalid, without the value: it may be a secret."""
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ToolInvalid(f"`headers`: {name[:100]!r} is no name of a header.")
            if name.lower() in _OWN_HEADERS or name.lower().startswith("proxy-"):
                raise ToolInvalid(f"`headers.{name}` is set by lmrun itself.", hint="Leave it out.")
            if not _HEADER_VALUE.fullmatch(value):
                raise ToolInvalid(
                    f"`headers.{name}` holds characters that a header cannot.",
                    hint="Use ASCII without line ends.",
                )
        return cls({name: Text.parse(it, f"headers.{name}") for name, it in headers.items()})

    @property
    def names(self) -> frozenset[str]:
        return frozenset().union(*(text.names for text in self.values.values()))

    def fill(self, arguments: Arguments) -> dict[str, str]:
        """Raises ArgumentRefused."""
        filled = {}
        for name, text in self.values.items():
            value = text.fill(arguments)
            if value is None:
                continue
            if len(value) > MAX_FILLED or not _HEADER_VALUE.fullmatch(value):
                raise ArgumentRefused(
                    f"{_list(text.names)} goes into a header, where only printable ASCII without "
                    f"line ends can stand, and {MAX_FILLED} characters at most."
                )
            filled[name] = value.strip()
        return filled


@dataclass(frozen=True, slots=True)
class BodyTemplate:
    """JSON with holes: a tree of dicts, lists, Texts and other values."""

    tree: Any

    @classmethod
    def parse(cls, body: Any) -> BodyTemplate:
        """Raises ToolInvalid."""
        return cls(_parse_tree(body, "body"))

    @property
    def names(self) -> frozenset[str]:
        return frozenset().union(*(text.names for text in _find_texts(self.tree)))

    def fill(self, arguments: Arguments) -> bytes:
        """Compact JSON; empty when all of it is one argument that was left out."""
        value = _fill_tree(self.tree, arguments)
        return b"" if value is _ABSENT else to_json(value).encode("utf-8", "replace")


def to_text(value: Any) -> str:
    """A value inside longer text: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else to_json(value)


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _parse_pair(part: str) -> tuple[str, Text | None]:
    name, equals, value = part.partition("=")
    if re.search(r"[{}]", name):
        raise ToolInvalid(
            f"`url`: {part[:100]!r} has an argument where a query has a name.",
            hint="Write `name={argument}`.",
        )
    return name, Text.parse(value, "url") if equals else None


def _fill_segment(segment: Text, arguments: Arguments) -> str:
    """What a server may read as a way up, or as another place, is refused."""
    filled = _fill_encoded(segment, arguments)
    if segment.names:
        names = _list(segment.names)
        if not filled:
            raise ArgumentRefused(f"{names} is empty, but is a piece of a path.")
        pieces = re.split(r"[/\\]", unquote(filled))
        if any(piece.partition(";")[0] in (".", "..") for piece in pieces):
            raise ArgumentRefused(f"{names} would lead elsewhere: `.` and `..` are no names.")
    return filled


def _fill_encoded(text: Text, arguments: Arguments) -> str:
    return "".join(
        piece
        if isinstance(piece, str)
        else quote(to_text(arguments[piece[0]]), safe="", errors="replace")
        for piece in text.pieces
    )


def _parse_tree(value: Any, where: str) -> Any:
    if isinstance(value, str):
        return Text.parse(value, where)
    if isinstance(value, dict):
        for key in value:
            if any(found["name"] for found in _PARTS.finditer(str(key))):
                raise ToolInvalid(
                    f"`{where}`: {str(key)[:100]!r} has an argument in a name.",
                    hint="Arguments may be values.",
                )
        return {str(key): _parse_tree(it, f"{where}.{key}") for key, it in value.items()}
    if isinstance(value, (list, tuple)):
        return [_parse_tree(it, f"{where}[{index}]") for index, it in enumerate(value)]
    return value


def _find_texts(tree: Any) -> Iterator[Text]:
    if isinstance(tree, Text):
        yield tree
    elif isinstance(tree, (dict, list)):
        for child in tree.values() if isinstance(tree, dict) else tree:
            yield from _find_texts(child)


def _fill_tree(tree: Any, arguments: Arguments) -> Any:
    if isinstance(tree, Text):
        name = tree.only_name
        if name is not None:
            return arguments.get(name, _ABSENT)
        text = tree.fill(arguments)
        return _ABSENT if text is None else text
    if isinstance(tree, dict):
        filled = ((key, _fill_tree(it, arguments)) for key, it in tree.items())
        return {key: value for key, value in filled if value is not _ABSENT}
    if isinstance(tree, list):
        return [it for it in (_fill_tree(it, arguments) for it in tree) if it is not _ABSENT]
    return tree


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
