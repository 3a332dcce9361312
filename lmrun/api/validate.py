"""From JSON to a request type, with errors that name the parameter. It knows no single one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from json import dumps as to_json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lmrun.api.fields import SAYS_ALL, UNSUPPORTED
from lmrun.errors import InvalidParameter, RequestError, UnsupportedParameter

MAX_SHOWN = 5
MAX_SHOWN_CHARACTERS = 60

_IN_JSON = {"tuple": "array", "dictionary": "object", " after validation": ""}

_COMPLETE = frozenset({SAYS_ALL, "too_long", "too_short"})
"""Types of validation errors after whose message `got an array` would say nothing more."""

RequestT = TypeVar("RequestT", bound=BaseModel)


def validate_request(kind: type[RequestT], json: Any) -> RequestT:
    """The typed request. `null` at the top level means that a parameter is left out.

    Raises InvalidParameter or UnsupportedParameter; `param` names the first one that is wrong.
    """
    if not isinstance(json, dict):
        raise InvalidParameter("The body must be a JSON object.")
    _refuse_unknown(kind, json)
    try:
        return kind.model_validate({k: value for k, value in json.items() if value is not None})
    except ValidationError as error:
        raise _translate(error.errors(include_url=False, include_context=False)) from None


def field_names(kind: type[BaseModel]) -> frozenset[str]:
    """The names that the fields of `kind` have in JSON."""
    return frozenset(field.alias or name for name, field in kind.model_fields.items())


def _refuse_unknown(kind: type[BaseModel], json: dict[str, Any]) -> None:
    known = field_names(kind)
    unknown = [name for name in json if name not in known]
    if unknown:
        names = ", ".join(_show_unknown(name, known) for name in unknown[:MAX_SHOWN])
        rest = f" and {len(unknown) - MAX_SHOWN} more" if len(unknown) > MAX_SHOWN else ""
        plural = "s" if len(unknown) > 1 else ""
        raise InvalidParameter(f"Unknown parameter{plural}: {names}{rest}.", param=unknown[0][:80])


def _show_unknown(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name[:80], sorted(known), n=1)
    hint = f" (did you mean `{close[0]}`?)" if close else ""
    return f"`{name[:80]}`{hint}"


def _translate(details: Sequence[ErrorDetails]) -> RequestError:
    """One error for all that is wrong: what is unsupported counts only if nothing is invalid."""
    first = details[0]
    text = "; ".join(_show(detail) for detail in details[:MAX_SHOWN])
    kind = UnsupportedParameter if first["type"] == UNSUPPORTED else InvalidParameter
    return kind(f"{text}.", param=_path(first))


def _show(detail: ErrorDetails) -> str:
    if detail["type"] == UNSUPPORTED:
        return f"`{_path(detail)}`: {detail['msg']}"
    if detail["type"] == "missing":
        return f"`{_path(detail)}` is required"
    if detail["type"] == "extra_forbidden":
        return f"`{_path(detail)}` is unknown"
    message = detail["msg"][:1].lower() + detail["msg"][1:]
    for python, json in _IN_JSON.items():
        message = message.replace(python, json)
    got = "" if detail["type"] in _COMPLETE else f", got {_shorten(detail['input'])}"
    return f"`{_path(detail)}`: {message}{got}"


def _path(detail: ErrorDetails) -> str:
    """`messages[0].content`"""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"])
    return "".join(parts).lstrip(".")[:120]


def _shorten(value: Any) -> str:
    if isinstance(value, (dict, list, tuple)):
        return "an object" if isinstance(value, dict) else "an array"
    short = value[: MAX_SHOWN_CHARACTERS + 1] if isinstance(value, str) else value
    text = to_json(short, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"
