"""The JSON schema that editors use, generated from the types: `python -m lmrun.profile.schemas`.

It knows no profile; `--check` writes nothing and exits 1 where the committed file differs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lmrun.profile.schema import Profile

SCHEMA_PATH = Path(__file__).parents[2] / "schemas" / "profile.schema.json"

_REFERENCE = {
    "type": "string",
    "pattern": r"\$\{(env|file):[^}]+\}",
    "description": "${env:NAME}, ${env:NAME:-default} or ${file:path}, resolved by the server.",
}
_NAMED_SCHEMAS = ("properties", "patternProperties", "$defs")
_ANNOTATIONS = ("title", "description", "default")


def json_schema() -> dict[str, Any]:
    """The schema of a profile's text: references allowed wherever a value stands."""
    schema = _allow_references(Profile.model_json_schema(mode="validation"))
    schema["properties"]["version"] = {"const": 1, "description": "The format's version."}
    schema["properties"]["include"]["items"] = {"type": "string"}
    schema["$defs"]["Reference"] = _REFERENCE
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "lmrun profile",
    }


def _allow_references(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with a reference as another choice beside each value that is no plain text."""
    walked: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NAMED_SCHEMAS:
            walked[key] = {name: _allow_references(part) for name, part in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            walked[key] = _allow_references(value)
        elif key == "description":
            # Of a docstring, the first paragraph is for the profile's writer.
            walked[key] = value.split("\n\n")[0].replace("\n", " ")
        elif not (key == "default" and isinstance(value, dict)):
            # A section's default is that of each of its fields, which say it themselves.
            walked[key] = value
    if "patternProperties" in walked:
        walked["additionalProperties"] = False
    return _with_reference(walked)


def _with_reference(schema: dict[str, Any]) -> dict[str, Any]:
    choices: list[dict[str, Any]] = schema.get("anyOf", [schema])
    if schema.get("writeOnly") or not any(_is_constrained(choice) for choice in choices):
        return schema
    outside: dict[str, Any] = {key: schema[key] for key in _ANNOTATIONS if key in schema}
    inside = [
        {key: value for key, value in choice.items() if key not in _ANNOTATIONS}
        for choice in choices
    ]
    return {**outside, "anyOf": [*inside, {"$ref": "#/$defs/Reference"}]}


def _is_constrained(choice: dict[str, Any]) -> bool:
    """Whether a reference would not match: a number, a boolean, a text with a form."""
    if choice.get("type") == "string":
        return bool({"pattern", "enum", "const"} & set(choice))
    return choice.get("type") in ("integer", "number", "boolean")


def render() -> str:
    """The committed file's text."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Writes the schema, or with `--check` compares it; the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m lmrun.profile.schemas [--check]", file=sys.stderr)
        return 2
    if not arguments:
        SCHEMA_PATH.write_text(render(), encoding="utf-8")
        return 0
    if SCHEMA_PATH.is_file() and SCHEMA_PATH.read_text(encoding="utf-8") == render():
        return 0
    print(f"{SCHEMA_PATH} is not what the types say; run python -m lmrun.profile.schemas")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
