"""docs/profile.md, generated from the types: `python -m lmrun.profile.reference`.

It knows no field by name; `--check` writes nothing and exits 1 where the committed file differs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmrun.profile.schema import Profile
from lmrun.profile.shape import look_up_effect

REFERENCE_PATH = Path(__file__).parents[2] / "docs" / "profile.md"

Schema = dict[str, Any]

_INTRODUCTION = """\
# The profile, field by field

Generated from the types; `make schemas` writes it again. A field that is not listed is an error,
and so is a value of another type. A value may also be a reference: `${env:NAME}`,
`${env:NAME:-default}` or `${file:path}` (relative to the profile). What a file says is kept with
the profile, but where it may be a secret: in API keys, and in commands, URLs, headers, bodies and
variables of tools and MCP servers. There only its owner may be able to read it (`chmod 600`).

The column *change* says what a changed value does to what runs:

| change | |
|---|---|
| nothing | It counts from the next time that it is looked at. |
| Update | It counts from the next request on. Nothing is reloaded, no stream is touched. |
| Reload | The instance is replaced by a new one; its streams finish first (see `rollout`). |
| Listen | The HTTP port is opened anew, before the former one is closed. No model is touched. |
| Load or Unload | An instance comes or goes. |
"""
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def render() -> str:
    """The committed file's text."""
    schema = Profile.model_json_schema()
    sections = [_INTRODUCTION]
    sections += [_section(path, part) for path, part in _sections("", schema, schema["$defs"])]
    return "\n".join(sections)


def _sections(path: str, schema: Schema, defs: Schema) -> Iterator[tuple[str, Schema]]:
    """Every object of the profile with its path, in the order of declaration."""
    yield path, schema
    for name, field in schema["properties"].items():
        below = f"{path}.{name}" if path else name
        for suffix, choice in _choices(field):
            if "$ref" in choice:
                part = defs[choice["$ref"].rpartition("/")[2]]
                yield from _sections(below + suffix, part, defs)


def _choices(field: Schema) -> Iterator[tuple[str, Schema]]:
    """The schemas that a field's value, its items or its named members may have."""
    for choice in field.get("anyOf", [field]):
        yield "", choice
        if "items" in choice:
            yield "[]", choice["items"]
        for member in _members(choice):
            yield ".<name>", member


def _members(choice: Schema) -> list[Schema]:
    """Schemas of the values of a mapping with free keys."""
    members = list(choice.get("patternProperties", {}).values())
    more = choice.get("additionalProperties")
    return [*members, more] if isinstance(more, dict) else members


def _section(path: str, schema: Schema) -> str:
    lines = [f"## `{path}`" if path else "## The file", "", _first_paragraph(schema), ""]
    lines += ["| field | value | default | change | |", "|---|---|---|---|---|"]
    required = schema.get("required", [])
    lines += [
        _row(name, part, name in required, _effect(f"{path}.{name}"))
        for name, part in schema["properties"].items()
    ]
    return "\n".join([*lines, ""])


def _effect(path: str) -> str:
    """What a change costs; a section whose fields say it has no word of its own."""
    parts = path.removeprefix(".").replace("[]", ".<item>").split(".")
    return look_up_effect(*parts) or "see below"


def _first_paragraph(schema: Schema) -> str:
    return str(schema.get("description", "")).partition("\n\n")[0].replace("\n", " ")


def _row(name: str, field: Schema, is_required: bool, effect: str) -> str:
    cells = [f"`{name}`", _value(field), _default(field, is_required), effect]
    cells.append(_first_paragraph(field))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _value(field: Schema) -> str:
    choices = [it for it in field.get("anyOf", [field]) if it.get("type") != "null"]
    return " or ".join(_type(choice) for choice in choices)


def _type(choice: Schema) -> str:
    if "const" in choice:
        return f"`{json.dumps(choice['const'])}`".replace('"', "")
    if "enum" in choice:
        return ", ".join(f"`{item}`" for item in choice["enum"])
    if "$ref" in choice:
        return "see below"
    if choice.get("type") == "array":
        return _container("list", [choice["items"]])
    if choice.get("type") == "object":
        return _container("mapping", _members(choice))
    if "examples" in choice:
        return f"like `{choice['examples'][0]}`"
    return " ".join([str(choice.get("type", "any")), *_bounds(choice)])


def _container(name: str, inner: list[Schema]) -> str:
    kinds = " or ".join(_type(it) for it in inner)
    return f"{name}, {kinds}" if kinds == "see below" else f"{name} of {kinds}"


def _bounds(choice: Schema) -> list[str]:
    return [f"{sign} {choice[name]}" for name, sign in _BOUNDS.items() if name in choice]


def _default(field: Schema, is_required: bool) -> str:
    if is_required:
        return "required"
    value = field.get("default")
    if value is None or isinstance(value, dict) or value == []:
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def main(arguments: list[str]) -> int:
    """Writes the reference, or with `--check` compares it; the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m lmrun.profile.reference [--check]", file=sys.stderr)
        return 2
    if not arguments:
        REFERENCE_PATH.write_text(render(), encoding="utf-8")
        return 0
    if REFERENCE_PATH.is_file() and REFERENCE_PATH.read_text(encoding="utf-8") == render():
        return 0
    print(f"{REFERENCE_PATH} is not what the types say; run `make schemas`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
