"""A client's JSON schema → one that holds only what is enforced, or a refusal that says where.

Nothing recursive or native sees a schema before its depth and size are known. It knows no engine;
what it lets pass is what llguidance turns into a grammar exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lmrun.engines.llama_cpp.constraints.patterns import check_pattern
from lmrun.engines.llama_cpp.constraints.refusals import refuse
from lmrun.engines.llama_cpp.constraints.schemas import keywords, values
from lmrun.engines.llama_cpp.constraints.schemas.disjoint import is_disjoint
from lmrun.engines.llama_cpp.constraints.schemas.overlaps import require_few_overlaps
from lmrun.engines.llama_cpp.constraints.schemas.references import (
    References,
    escape,
    require_finite,
    require_progress,
)

MAX_NODES = 2000
MAX_ENUM_VALUES = 10_000
MAX_PATTERN_PROPERTIES = 32
MAX_MULTIPLES = 20_000
MAX_COUNTED_PROPERTIES = 100
ROOT = "#"

Schema = dict[str, Any] | bool


@dataclass(slots=True)
class _Reading:
    """`places`: every schema by its path, cleaned. `refs`: path → path of what it refers to."""

    places: dict[str, Schema] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    unions: list[str] = field(default_factory=list)  # paths of schemas with `oneOf`
    enum_values: int = 0
    properties: int = 0
    pattern_properties: int = 0
    counted: str = ""
    multiples: set[int | float] = field(default_factory=set)


def clean_schema(schema: Schema) -> Schema:
    """The schema without remarks. Raises InvalidParameter for what cannot be enforced."""
    values.require_shallow(schema, ROOT)
    reading = _Reading()
    cleaned = _read_schema(schema, ROOT, reading)
    for path, target in reading.refs.items():
        if target not in reading.places:
            raise refuse(f"$ref `{target[:100]}` leads to no schema", at=path)
    _require_cheap(reading)
    references = References(reading.places, reading.refs)
    require_progress(references)
    require_finite(references)
    require_few_overlaps(references)
    for path in reading.unions:
        _settle_union(path, references)
    return cleaned


def _read_schema(schema: Any, path: str, reading: _Reading) -> Schema:
    if not isinstance(schema, dict | bool):
        raise refuse(
            f"a schema must be an object, true or false, not {values.show(schema)}", at=path
        )
    if len(reading.places) >= MAX_NODES:
        raise refuse(f"the schema has more than {MAX_NODES} nodes", at=path)
    if isinstance(schema, bool):
        reading.places[path] = schema
        return schema
    cleaned: dict[str, Any] = {}
    reading.places[path] = cleaned
    for keyword, value in schema.items():
        _read_keyword(keyword, value, path, cleaned, reading)
    _require_countable(cleaned, path)
    if cleaned.get("minProperties") or "maxProperties" in cleaned:
        reading.counted = path
    return cleaned


def _read_keyword(
    keyword: str, value: Any, path: str, cleaned: dict[str, Any], reading: _Reading
) -> None:
    place = f"{path}/{escape(keyword)}"
    if keyword in keywords.SCHEMA_KEYWORDS:
        cleaned[keyword] = _read_schema(_require_no_list(value, place), place, reading)
    elif keyword in keywords.SCHEMA_LIST_KEYWORDS:
        cleaned[keyword] = [
            _read_schema(item, f"{place}/{index}", reading)
            for index, item in enumerate(values.require_list(value, place))
        ]
        if keyword == "oneOf":
            reading.unions.append(path)
    elif keyword in keywords.SCHEMA_MAP_KEYWORDS:
        cleaned[keyword] = _read_map(keyword, value, place, reading)
    elif keyword == "$ref":
        reading.refs[path] = cleaned[keyword] = values.require_local(value, place)
    elif keyword in ("const", "enum"):
        cleaned[keyword] = _read_values(keyword, value, place, reading)
    elif not _is_remark(keyword, value, path):
        cleaned[keyword] = values.check(keyword, value, place)
        if keyword == "multipleOf":
            reading.multiples.add(value)


def _read_map(keyword: str, value: Any, place: str, reading: _Reading) -> dict[str, Schema]:
    if not isinstance(value, dict):
        raise refuse(f"`{keyword}` must be an object, not {values.show(value)}", at=place)
    reading.properties += len(value) if keyword == "properties" else 0
    reading.pattern_properties += len(value) if keyword == "patternProperties" else 0
    cleaned: dict[str, Schema] = {}
    for name, schema in value.items():
        inner = f"{place}/{escape(name)}"
        values.require_text(name, place)
        if keyword == "patternProperties":
            check_pattern(name, inner)
        cleaned[name] = _read_schema(schema, inner, reading)
    return cleaned


def _read_values(keyword: str, value: Any, place: str, reading: _Reading) -> Any:
    options = values.require_list(value, place) if keyword == "enum" else [value]
    if keyword == "enum" and not options:
        raise refuse("`enum` holds no value, so nothing satisfies it", at=place)
    reading.enum_values += values.count_values(options, place)
    if reading.enum_values > MAX_ENUM_VALUES:
        raise refuse(f"the schema has more than {MAX_ENUM_VALUES} enum values", at=place)
    return value


def _is_remark(keyword: str, value: Any, path: str) -> bool:
    """Whether a keyword can be left out. Raises InvalidParameter for one that must not be."""
    if keyword == "$schema":
        values.require_dialect(value, path)
    if keyword == "$id" and path != ROOT:
        raise refuse("`$id` inside of a schema cannot be followed", at=path)
    if keyword in keywords.REMARKS or keyword.startswith("x-"):
        return True
    if keyword in keywords.HARMLESS_VALUES:
        return value is keywords.HARMLESS_VALUES[keyword] or _refuse_keyword(keyword, path)
    if keyword in keywords.NOT_ENFORCED or not values.is_enforced(keyword):
        return _refuse_keyword(keyword, path)
    return False


def _refuse_keyword(keyword: str, path: str) -> bool:
    what = "cannot be enforced" if keyword in keywords.NOT_ENFORCED else "is no known keyword"
    raise refuse(f"`{keyword[:60]}` {what}", at=path, hint=keywords.HINTS.get(keyword))


def _require_no_list(value: Any, place: str) -> Any:
    if isinstance(value, list):
        raise refuse(
            "`items` as an array is of an older draft", at=place, hint="Use `prefixItems`."
        )
    return value


def _require_countable(schema: dict[str, Any], path: str) -> None:
    """Names beyond `properties` and `required` may come twice, and parsers keep only one."""
    if schema.get("minProperties", 0) > len(schema.get("required", ())) + 1:
        raise refuse(
            "`minProperties` cannot be enforced for more than one property beyond `required`",
            at=path,
        )


def _require_cheap(reading: _Reading) -> None:
    """Some keywords cost the square of what they count: 300 properties 2.5 s, 900 patterns 230 s,
    20 numbers around 60,000 21 s."""
    if reading.pattern_properties > MAX_PATTERN_PROPERTIES:
        raise refuse(f"the schema has more than {MAX_PATTERN_PROPERTIES} pattern properties")
    if len(reading.multiples) > 1:
        total = sum(map(values.count_steps, reading.multiples))
        if total > MAX_MULTIPLES:
            raise refuse(f"the schema's `multipleOf` add up to more than {MAX_MULTIPLES} steps")
    if reading.counted and reading.properties > MAX_COUNTED_PROPERTIES:
        raise refuse(
            "`minProperties` and `maxProperties` cannot be enforced in a schema with more than "
            f"{MAX_COUNTED_PROPERTIES} properties",
            at=reading.counted,
        )


def _settle_union(path: str, references: References) -> None:
    """`oneOf` is `anyOf` where no value satisfies two of its schemas."""
    schema = references.places[path]
    assert isinstance(schema, dict)
    options = schema["oneOf"]
    if "anyOf" not in schema and is_disjoint(options, references):
        # In its place: the order of keywords decides the order of properties.
        items = [("anyOf" if key == "oneOf" else key, value) for key, value in schema.items()]
        schema.clear()
        schema.update(items)
