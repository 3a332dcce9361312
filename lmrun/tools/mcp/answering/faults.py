"""What is wrong with an answer to a form, in the form's own words. Pure; it knows nobody who
answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, NamedTuple

from lmrun.tools.mcp.answering.forms import Form, describe_kind, read_form
from lmrun.tools.schemas.validation import SchemaUnusable, find_errors

MAX_SHOWN = 80
"""Characters of a value that is quoted."""


class FieldFault(NamedTuple):
    """`text`: a line that says what is wrong with the field called `name`, and what is right."""

    name: str
    text: str


def find_faults(content: Mapping[str, Any], schema: Mapping[str, Any]) -> list[FieldFault]:
    """One for each field that is wrong, in the form's order, then one for each that it does not
    have. A schema that nothing can be checked with finds no more than that. Raises McpProtocol for
    one that is no form."""
    form = read_form(schema)
    broken = set(_find_broken(content, schema))
    faults = []
    for name, field in form.properties.items():
        right = describe_kind(field)
        if name not in content:
            if name in form.required:
                faults.append(FieldFault(name, f"`{name}` is missing: it must be {right}."))
        elif name in broken or not _is_plain(content[name]):
            shown = _show(content[name])
            faults.append(FieldFault(name, f"`{name}` is {shown}: it must be {right}."))
    unknown = (name for name in content if name not in form.properties)
    return [*faults, *(FieldFault(name, _refuse_unknown(name, form)) for name in unknown)]


def find_fault(name: str, value: Any, schema: Mapping[str, Any]) -> str | None:
    """What would be right, where `value` is wrong for a field of the form, whatever the others
    are; None: it is right. Raises McpProtocol."""
    if any(it.name == name for it in find_faults({name: value}, schema)):
        return describe_kind(read_form(schema).properties[name])
    return None


def _find_broken(content: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """Names of fields that break a rule."""
    with suppress(SchemaUnusable):
        for error in find_errors(dict(content), schema):
            if error.path:
                yield str(error.path[0])


def _is_plain(value: Any) -> bool:
    """Whether the protocol has such a value in an answer at all."""
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, str | int | float)


def _refuse_unknown(name: str, form: Form) -> str:
    close = get_close_matches(name, form.properties, n=1)
    meant = f"did you mean `{close[0]}`?" if close else f"it has {', '.join(form.properties)}."
    return f"`{name[:MAX_SHOWN]}` is no field of the form; {meant}"


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
