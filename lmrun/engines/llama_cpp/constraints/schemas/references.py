"""What `$ref` makes of a schema: a graph. It must move on, and it must come to an end.

It knows cleaned schemas only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lmrun.engines.llama_cpp.constraints.refusals import refuse

IN_PLACE = ("allOf", "anyOf", "oneOf")


@dataclass(frozen=True, slots=True)
class References:
    """`places`: every schema by its path. `targets`: the path that a schema's `$ref` names."""

    places: dict[str, dict[str, Any] | bool]
    targets: dict[str, str]

    def resolve(self, schema: dict[str, Any] | bool) -> dict[str, Any] | bool:
        """What a schema that is nothing but a `$ref` refers to in the end."""
        while isinstance(schema, dict) and set(schema) == {"$ref"}:
            schema = self.places[schema["$ref"]]
        return schema


def escape(name: str) -> str:
    """A part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def require_progress(references: References) -> None:
    """Raises InvalidParameter when a schema refers to itself without a value in between."""
    done: set[str] = set()
    for start in references.targets:
        open_paths: dict[str, Iterator[str]] = {start: _same_value(start, references)}
        while open_paths:
            path = next(reversed(open_paths))
            following = next(open_paths[path], None)
            if following is None:
                done.add(path)
                del open_paths[path]
            elif following in open_paths:
                raise refuse("$ref leads back to itself without a value in between", at=following)
            elif following not in done:
                open_paths[following] = _same_value(following, references)


def require_finite(references: References) -> None:
    """Raises InvalidParameter when every value that satisfies the root holds another such value.

    A value of a schema is finite once enough of the schemas that it needs are: a least fixpoint.
    """
    needs = {path: _needs(path, schema, references) for path, schema in references.places.items()}
    users: dict[str, list[str]] = {path: [] for path in references.places}
    for path, groups in needs.items():
        for group in groups:
            for member in group:
                users[member].append(path)
    finite: set[str] = set()
    waiting = list(needs)
    while waiting:
        path = waiting.pop()
        if path not in finite and all(any(m in finite for m in group) for group in needs[path]):
            finite.add(path)
            waiting.extend(users[path])
    if "#" not in finite:
        raise refuse("every value that satisfies the schema holds another one, without end", at="#")


def _same_value(path: str, references: References) -> Iterator[str]:
    """Paths of the schemas that the same value must satisfy, too."""
    schema = references.places[path]
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        yield references.targets[path]
    for keyword in IN_PLACE:
        for index in range(len(schema.get(keyword, ()))):
            yield f"{path}/{keyword}/{index}"


def _needs(path: str, schema: dict[str, Any] | bool, references: References) -> list[list[str]]:
    """Groups of paths, one of each of which must be finite for this schema to be."""
    if not isinstance(schema, dict):
        return []
    groups: list[list[str]] = []
    if "$ref" in schema:
        groups.append([references.targets[path]])
    for keyword in IN_PLACE:
        members = [f"{path}/{keyword}/{index}" for index in range(len(schema.get(keyword, ())))]
        groups.extend([[member] for member in members] if keyword == "allOf" else [members])
    if schema.get("type") == "object":
        groups.extend(_needs_of_object(path, schema))
    if schema.get("type") == "array" and schema.get("minItems", 0) > 0:
        groups.extend(_needs_of_array(path, schema))
    return [group for group in groups if group]


def _needs_of_object(path: str, schema: dict[str, Any]) -> Iterator[list[str]]:
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name in properties:
            yield [f"{path}/properties/{escape(name)}"]


def _needs_of_array(path: str, schema: dict[str, Any]) -> Iterator[list[str]]:
    prefix = schema.get("prefixItems", ())
    for index in range(min(len(prefix), schema["minItems"])):
        yield [f"{path}/prefixItems/{index}"]
    if schema["minItems"] > len(prefix) and "items" in schema:
        yield [f"{path}/items"]
