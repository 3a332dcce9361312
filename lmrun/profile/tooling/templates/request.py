"""Requests with holes, and what arguments make of them. Pure; nothing is sent here.

What uses an argument that a call leaves out is left out whole: a value of a query, a header, a
value of the body.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from lmrun.errors import ToolInvalid
from lmrun.profile.tooling.templates.text import (
    PARTS,
    ArgumentRefused,
    Arguments,
    Place,
    Text,
    to_json,
    to_text,
)

MAX_FILLED = 8192
"""Characters of a URL, or of a header; servers take no longer ones."""

_URL = re.compile(r"(?P<scheme>[^:/?#]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?")
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
_URL_PLACE: Place = ("url",)


@dataclass(frozen=True, slots=True)
class UrlTemplate:
    """`host`: as declared, without brackets; `port`: None where there is none. `query`: names, with
    values where it has a `=`."""

    scheme: str
    host: str
    port: int | None
    segments: tuple[Text, ...]
    query: tuple[tuple[str, Text | None], ...]

    @classmethod
    def parse(cls, url: str) -> UrlTemplate:
        """Raises ToolInvalid."""
        found = _URL.fullmatch(url)
        scheme = found["scheme"].lower() if found else ""
        if found is None or scheme not in ("http", "https") or not found["authority"]:
            raise _wrong_url("no http or https URL", "Write `https://api.example.com/{id}`.")
        authority, rest = found["authority"], found["rest"]
        if re.search(r"[{}@]", authority):
            raise _wrong_url(
                "an argument or a user name stands where the host is",
                "Arguments may be pieces of the path and values of the query.",
            )
        host = _AUTHORITY.fullmatch(authority)
        if host is None or int(host["port"] or 1) not in range(1, 65536):
            raise _wrong_url(
                "its host cannot be read, or its port",
                "Write names in ASCII, and IPv6 in brackets.",
            )
        if "#" in rest:
            raise _wrong_url("what follows `#` is never sent", "Leave it out.")
        query = rest.removeprefix("?")
        segments = tuple(Text.parse(it, _URL_PLACE) for it in found["path"].split("/")[1:])
        pairs = tuple(_parse_pair(it) for it in query.split("&")) if query else ()
        name, port = host["host"].strip("[]"), int(host["port"]) if host["port"] else None
        template = cls(scheme, name, port, segments, pairs)
        for text in template._texts():
            if not _IN_URL.fullmatch(text.literal):
                raise _wrong_url(
                    "it holds a character that has no place in a URL",
                    "Write it as `%20`, and a `%` itself as `%25`.",
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
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        url = f"{self.scheme}://{host}{port}{path}{query}"
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
                raise ToolInvalid("this is no name of a header", place=("headers", name))
            if name.lower() in _OWN_HEADERS or name.lower().startswith("proxy-"):
                raise ToolInvalid(
                    "is set by lmrun itself", place=("headers", name), hint="Leave it out."
                )
            if not _HEADER_VALUE.fullmatch(value):
                raise ToolInvalid(
                    "holds characters that a header cannot",
                    place=("headers", name),
                    hint="Use ASCII without line ends.",
                )
        return cls({name: Text.parse(it, ("headers", name)) for name, it in headers.items()})

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
        return cls(_parse_tree(body, ("body",)))

    @property
    def names(self) -> frozenset[str]:
        return frozenset().union(*(text.names for text in _find_texts(self.tree)))

    def fill(self, arguments: Arguments) -> bytes:
        """Compact JSON; empty when all of it is one argument that was left out."""
        value = _fill_tree(self.tree, arguments)
        return b"" if value is _ABSENT else to_json(value).encode("utf-8", "replace")


def _parse_pair(part: str) -> tuple[str, Text | None]:
    name, equals, value = part.partition("=")
    if re.search(r"[{}]", name):
        raise _wrong_url("an argument stands where a query has a name", "Write `name={argument}`.")
    return name, Text.parse(value, _URL_PLACE) if equals else None


def _wrong_url(what: str, hint: str) -> ToolInvalid:
    """Without the URL: it may hold a secret."""
    return ToolInvalid(what, place=_URL_PLACE, hint=hint)


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


def _parse_tree(value: Any, place: Place) -> Any:
    if isinstance(value, str):
        return Text.parse(value, place)
    if isinstance(value, dict):
        for key in value:
            if any(found["name"] for found in PARTS.finditer(str(key))):
                raise ToolInvalid(
                    "an argument stands in a name",
                    place=(*place, str(key)),
                    hint="Arguments may be values.",
                )
        return {str(key): _parse_tree(it, (*place, str(key))) for key, it in value.items()}
    if isinstance(value, (list, tuple)):
        return [_parse_tree(it, (*place, index)) for index, it in enumerate(value)]
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
