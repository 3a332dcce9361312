"""For clients that send more than anybody knows: the request without it, and what that was.

Values of known parameters are left as they are; what is wrong with them stays wrong. It knows no
dialect and no HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from lmrun.api.validate import field_names

MAX_ROUNDS = 256
MAX_WORK_BYTES = 64 * 2**20
"""How often a body is looked at, and how much text that may be: after it, the rest is refused."""

MAX_NAMES = 20
MAX_NAME = 80

Path = tuple[str | int, ...]


def drop_unknown(kind: type[BaseModel], json: Any, size_bytes: int) -> tuple[Any, list[str]]:
    """`json` without what the fields of `kind` do not know, and its names, as `messages[0].x`.

    `size_bytes`: of the body it came in. Something unknown inside a value that may have several
    forms stays, unless the value says which form it is: it might belong to another one.
    """
    if not isinstance(json, dict):
        return json, []
    known = field_names(kind)
    names = [name for name in json if name not in known]
    kept = {name: value for name, value in json.items() if name in known}
    for _ in range(min(MAX_ROUNDS, max(1, MAX_WORK_BYTES // max(1, size_bytes)))):
        paths = list(_find_unknown(kind, kept))
        if not paths:
            break
        for path in paths:
            kept = _without(kept, path)
            names.append(show_path(path))
    return kept, names


def show_path(path: Sequence[str | int]) -> str:
    """`("messages", 0, "x")` → `messages[0].x`"""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).lstrip(".")


def show_names(names: Sequence[str]) -> str:
    """The names for a header or a line of the log: printable ASCII, not too many of them."""
    shown = [_to_plain(name[:MAX_NAME]) for name in names[:MAX_NAMES]]
    more = [f"and {len(names) - MAX_NAMES} more"] if len(names) > MAX_NAMES else []
    return ", ".join([*shown, *more])


def _find_unknown(kind: type[BaseModel], json: dict[str, Any]) -> Iterator[Path]:
    try:
        kind.model_validate({name: value for name, value in json.items() if value is not None})
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=False):
            if detail["type"] == "extra_forbidden":
                path = _locate(json, detail["loc"])
                if path is not None:
                    yield path


def _locate(json: Any, location: Sequence[str | int]) -> Path | None:
    """Where in the JSON an error is. Its location also names the forms that values may have: such
    a part is passed over if the value itself says that it has this form."""
    if not location:
        return ()
    part, *rest = location
    if _has(json, part):
        found = _locate(json[part], rest)
        if found is not None:
            return (part, *found)
    is_form = bool(rest) and isinstance(json, dict) and part in _texts(json)
    return _locate(json, rest) if is_form else None


def _has(value: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(value, list) and part < len(value)
    return isinstance(value, dict) and part in value


def _texts(value: dict[str, Any]) -> list[str]:
    return [each for each in value.values() if isinstance(each, str)]


def _without(value: Any, path: Sequence[str | int]) -> Any:
    """A copy of `value` that lacks what is at `path`; what is elsewhere is shared."""
    head, *rest = path
    if isinstance(value, list):
        return [_without(item, rest) if n == head else item for n, item in enumerate(value)]
    if not rest:
        return {name: item for name, item in value.items() if name != head}
    return {name: _without(item, rest) if name == head else item for name, item in value.items()}


def _to_plain(name: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() and c != "," else "?" for c in name)
