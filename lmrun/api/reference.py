"""docs/api.md, generated from the route table: what every route takes, and what becomes of it.

It knows no route and no parameter by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from lmrun.api.fields import EFFECT
from lmrun.api.routes import Route

Schema = dict[str, Any]

_INTRODUCTION = """\
# The API, parameter by parameter

Generated from the route table; `make schemas` writes it again. A parameter that is not listed is
refused with a 400 that names it, unless the profile says `server.compat.unknown_parameters: warn`.

- **honoured**: it does what its API says.
- **refused**: any value but those listed is a 400 that names the parameter.
- **no effect**: it is taken and changes nothing here, for the reason given.

Bodies, answers and errors as schemas: `GET /openapi.json`.
"""


def render(routes: Sequence[Route]) -> str:
    """The committed file's text."""
    sections = [_INTRODUCTION, *_list_routes(routes)]
    described: dict[Any, str] = {}
    for route in routes:
        if route.request is not None:
            sections += _describe(route, described)
    return "\n".join(sections)


def _list_routes(routes: Sequence[Route]) -> Iterator[str]:
    yield "## Routes\n"
    yield "| route | what it does | scope of the key |\n|---|---|---|"
    for route in routes:
        yield f"| `{_name(route)}` | {route.summary} | {route.scope or 'none needed'} |"
    yield ""


def _name(route: Route) -> str:
    return f"{route.method} {route.path.replace(':path}', '}')}"


def _describe(route: Route, described: dict[Any, str]) -> Iterator[str]:
    """The parameters of a route's body; those that another route has described are not repeated."""
    yield f"## `{_name(route)}`\n"
    if route.request in described:
        yield f"Takes what `{described[route.request]}` takes.\n"
        return
    described[route.request] = _name(route)
    schema: Schema = route.request.model_json_schema()
    yield "| parameter | what becomes of it | |\n|---|---|---|"
    for name, field in schema.get("properties", {}).items():
        is_required = name in schema.get("required", ())
        yield _row(name, field, is_required=is_required)
    yield ""


def _row(name: str, field: Schema, *, is_required: bool) -> str:
    effect = _find_effect(field)
    shown = {"none": "no effect", "refused": _show_refusal(field)}.get(effect, "honoured")
    notes = [field.get("description", "")]
    if is_required:
        notes.insert(0, "Required.")
    return f"| `{name}` | {shown} | {_escape(' '.join(filter(None, notes)))} |"


def _find_effect(field: Schema) -> str:
    choices = [field, *field.get("anyOf", ())]
    return next((choice[EFFECT] for choice in choices if EFFECT in choice), "")


def _show_refusal(field: Schema) -> str:
    taken = [value for value in field.get("enum", ()) if value is not None]
    if not taken:
        return "**refused**"
    return "**refused**, except " + " or ".join(f"`{_escape(json.dumps(v))}`" for v in taken)


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
