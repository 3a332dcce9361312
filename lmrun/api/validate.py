"""From JSON to a request type, with errors that name the parameter. It knows no single one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from json import dumps as to_json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lmrun.api.fields import NOT_YET, SAYS_ALL, UNSUPPORTED
from lmrun.errors import InvalidParameter, RequestError, UnsupportedParameter

MAX_SHOWN = 5
MAX_SHOWN_CHARACTERS = 60

_IN_JSON = {"tuple": "array", "dictionary": "object", " after validation": ""}
_IN_PYTHON = re.compile(r" or (?:instance of \w+|object to extract fields from)")

_COMPLETE = frozenset({SAYS_ALL, "too_long", "too_short"})
"""Types of validation errors after whose message `got an array` would say nothing more."""

Location = tuple[str | int, ...]
"""Of a value: the keys and indices that lead to it."""

_LENGTH = ("max_tokens", "max_output_tokens")
_OUTPUT = ("structured", "response_format", "text", "output_config")
_MEANT = {
    **dict.fromkeys(("n_predict", "num_predict", "max_new_tokens"), _LENGTH),
    **dict.fromkeys(("grammar", "guided_json", "guided_regex", "guided_grammar"), _OUTPUT),
    **dict.fromkeys(("json_schema", "format"), _OUTPUT[1:]),
    **dict.fromkeys(("messages", "prompt", "input"), ("messages", "input", "prompt")),
    **dict.fromkeys(("stop", "stop_sequences"), ("stop", "stop_sequences")),
    **dict.fromkeys(("system", "system_prompt", "instructions"), ("system", "instructions")),
}
"""What other APIs call a parameter → what it is here, where spelling alone would not tell."""

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
        details = [_name_tag(each) for each in _drop_echoes(error.errors(include_url=False))]
        raise _translate(details, json, kind) from None


@cache
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
    foreign = [it for it in _MEANT.get(name, ()) if it in known]
    close = foreign or difflib.get_close_matches(name[:80], sorted(known), n=1)
    hint = f" (did you mean `{close[0]}`?)" if close else ""
    return f"`{name[:80]}`{hint}"


def _drop_echoes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without arrays that would be too short only since an item of theirs is wrong."""
    wrong = {detail["loc"][:end] for detail in details for end in range(len(detail["loc"]))}
    return [it for it in details if it["type"] != "too_short" or it["loc"] not in wrong]


def _name_tag(detail: ErrorDetails) -> ErrorDetails:
    """An error about the key that tells an object's forms apart is one about that key's value."""
    if detail["type"] not in ("union_tag_not_found", "union_tag_invalid"):
        return detail
    key = detail["ctx"]["discriminator"].strip("'")
    location = (*detail["loc"], key)
    if detail["type"] == "union_tag_not_found":
        return {**detail, "type": "missing", "loc": location}
    known = " or ".join(detail["ctx"]["expected_tags"].rsplit(", ", 1))
    return {
        "type": "literal_error",
        "loc": location,
        "msg": f"Input should be {known}",
        "input": detail["input"][key],
    }


def _translate(details: Sequence[ErrorDetails], json: Any, kind: type[BaseModel]) -> RequestError:
    """One error for all that is wrong: what is unsupported counts only if nothing is invalid."""
    first = details[0]
    shown = dict.fromkeys(_show(detail, _path(detail, json)) for detail in details)
    message, param = f"{'; '.join(list(shown)[:MAX_SHOWN])}.", _path(first, json) or None
    if first["type"] != UNSUPPORTED:
        return InvalidParameter(message, param=param)
    reason = _find_reason(first, kind) if len(shown) == 1 else None
    return UnsupportedParameter(message, param=param, hint=reason)


def _find_reason(detail: ErrorDetails, kind: type[BaseModel]) -> str | None:
    """Why the field of a request is not supported, as the reference says it."""
    fields = kind.model_fields.items()
    location = detail["loc"]
    found = (field for name, field in fields if location == (field.alias or name,))
    reason = next((field.description for field in found), None)
    return reason if reason != NOT_YET else None


def _show(detail: ErrorDetails, path: str) -> str:
    if detail["type"] == UNSUPPORTED:
        return f"`{path}`: {detail['msg']}"
    if detail["type"] == "missing":
        return f"`{path}` is required"
    if detail["type"] == "extra_forbidden":
        return f"`{path}` is unknown"
    message = detail["msg"][:1].lower() + detail["msg"][1:]
    for python, in_json in _IN_JSON.items():
        message = message.replace(python, in_json)
    message = _IN_PYTHON.sub("", message)
    got = "" if detail["type"] in _COMPLETE else f", got {_shorten(detail['input'])}"
    if not path:
        # It is about the whole body, which has no name.
        return f"{message[:1].upper()}{message[1:]}{got}"
    return f"`{path}`: {message}{got}"


def _path(detail: ErrorDetails, json: Any) -> str:
    """`messages[0].content`, as far as the request has it, and what it lacks there."""
    location, lacks_last = detail["loc"], detail["type"] == "missing"
    ends = range(len(location), 0, -1)
    found = (_locate(location[:end], json, lacks_last=lacks_last) for end in ends)
    parts = next((path for path in found if path is not None), ())
    shown = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return "".join(shown).lstrip(".")[:120]


def _locate(location: Location, value: Any, *, lacks_last: bool) -> Location | None:
    """The part of an error's location that is in `value`; None when its end is not. A location
    also names the forms that a value was tried as, which nobody sent."""
    if not location:
        return ()
    part, *rest = location
    for key in (part, str(part)):
        if _has(value, key):
            found = _locate(tuple(rest), value[key], lacks_last=lacks_last)
            if found is not None:
                return (part, *found)
    if not rest:
        return (part,) if lacks_last and isinstance(value, dict) else None
    is_form = isinstance(part, str)
    return _locate(tuple(rest), value, lacks_last=lacks_last) if is_form else None


def _has(value: Any, key: str | int) -> bool:
    if isinstance(key, int):
        return isinstance(value, list) and key < len(value)
    return isinstance(value, dict) and key in value


def _shorten(value: Any) -> str:
    if isinstance(value, (dict, list, tuple)):
        return "an object" if isinstance(value, dict) else "an array"
    short = value[: MAX_SHOWN_CHARACTERS + 1] if isinstance(value, str) else value
    text = to_json(short, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"
