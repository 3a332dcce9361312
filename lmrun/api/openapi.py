"""The OpenAPI document, made from the route table. It knows no route by name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, cast

import msgspec
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from lmrun import __version__
from lmrun.api.door import PRIORITIES, PRIORITY_HEADER, STEPS_HEADER
from lmrun.api.errors import (
    AnswerTimedOut,
    BodyInvalid,
    BodyStalled,
    FramingRefused,
    HostRefused,
    MediaTypeRefused,
    ServerStopping,
    TooManyAttempts,
    TooManyConnections,
    TooManyRequests,
    UpgradeRefused,
)
from lmrun.api.routes import Response, Route
from lmrun.errors import (
    BodyTooLarge,
    Forbidden,
    InvalidParameter,
    LmrunError,
    Unauthorized,
    UnsupportedParameter,
)

_REF = "#/components/schemas/{name}"
_REF_PYDANTIC = "#/components/schemas/{model}"
_DOOR_ERRORS: tuple[type[LmrunError], ...] = (
    FramingRefused,
    HostRefused,
    Forbidden,
    InvalidParameter,
    LmrunError,
    ServerStopping,
    TooManyConnections,
    UpgradeRefused,
)
_KEY_ERRORS: tuple[type[LmrunError], ...] = (Unauthorized, TooManyAttempts, TooManyRequests)
_BODY_ERRORS: tuple[type[LmrunError], ...] = (
    BodyInvalid,
    BodyStalled,
    BodyTooLarge,
    MediaTypeRefused,
    UnsupportedParameter,
)


_PRIORITY: dict[str, Any] = {
    "name": PRIORITY_HEADER,
    "in": "header",
    "required": False,
    "description": "Who goes first where generations wait; at most what the API key allows.",
    "schema": {"type": "string", "enum": [*PRIORITIES]},
}

_STEPS: dict[str, Any] = {
    "name": STEPS_HEADER,
    "in": "header",
    "required": False,
    "description": "Of an agent: its answer's reasoning tells what it does on the way, each tool "
    "call and its result in a line.",
    "schema": {"type": "string", "enum": ["true", "false"]},
}


def make_openapi(routes: Sequence[Route]) -> dict[str, Any]:
    """OpenAPI 3.1 for `routes`."""
    components, references = _make_schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _make_operation(route, references)
    return {
        "openapi": "3.1.0",
        "info": {"title": "lmrun", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _make_operation(route: Route, references: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "security": [{"bearer": []}, {"x-api-key": []}] if route.scope else [],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"\{(\w+)", route.path)
        ]
        + [
            {"name": name, "in": "query", "required": False, "schema": {"type": "string"}}
            for name in route.query
        ]
        + ([_PRIORITY, _STEPS] if route.method == "POST" and route.scope == "inference" else []),
        "responses": {
            **{
                str(status): _show_responses(responses, references)
                for status, responses in route.responses.items()
            },
            **_show_errors(route, references[route.envelope.type]),
        },
    }
    if route.request is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": references[route.request]}},
        }
    return operation


def _operation_id(route: Route) -> str:
    return re.sub(r"\W+", "_", f"{route.method.lower()}{re.sub(r':path', '', route.path)}").strip(
        "_"
    )


def _show_responses(
    responses: Iterable[Response], references: dict[Any, dict[str, Any]]
) -> dict[str, Any]:
    responses = tuple(responses)
    content = {
        response.media_type: {"schema": _show_body(response, references)}
        for response in responses
        if response.type is not None
    }
    return {
        "description": "; ".join(response.description for response in responses),
        **({"content": content} if content else {}),
    }


def _show_body(response: Response, references: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    """The schema of a body; of a stream, that of one of its events."""
    schema = references.get(response.type, {})
    if response.media_type != "text/event-stream":
        return schema
    data: dict[str, Any] = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": schema,
    }
    if response.last_data is not None:
        data = {"anyOf": [{"const": response.last_data}, data]}
    return {
        "description": "One event of the stream.",
        "type": "object",
        "properties": {"event": {"type": "string"}, "data": data},
        "required": ["data"],
    }


def _show_errors(route: Route, envelope: dict[str, Any]) -> dict[str, Any]:
    """Every status that the route can fail with, each with the codes it may carry."""
    kinds = _DOOR_ERRORS + route.errors
    kinds += _KEY_ERRORS if route.scope else ()
    kinds += () if route.is_endless else (AnswerTimedOut,)
    kinds += _BODY_ERRORS if route.request is not None else ()
    # Asked of every POST, so that no page of another site can send one unasked.
    kinds += (MediaTypeRefused,) if route.method == "POST" else ()
    codes: dict[int, set[str]] = {}
    for kind in kinds:
        code = "internal_error" if kind is LmrunError else kind.code
        codes.setdefault(route.envelope.to_status(kind), set()).add(code)
    return {
        str(status): {
            "description": "`error.code`: " + ", ".join(sorted(codes[status])),
            "content": {"application/json": {"schema": envelope}},
        }
        for status in sorted(codes)
    }


def _make_schemas(routes: Sequence[Route]) -> tuple[dict[str, Any], dict[Any, dict[str, Any]]]:
    """The components, and per type the schema that refers to them."""
    types: dict[Any, None] = {}
    for route in routes:
        types[route.envelope.type] = None
        if route.request is not None:
            types[route.request] = None
        for responses in route.responses.values():
            types.update((response.type, None) for response in responses if response.type)
    models = [kind for kind in types if _is_pydantic(kind)]
    structs = [kind for kind in types if not _is_pydantic(kind)]
    schemas, components = msgspec.json.schema_components(structs, ref_template=_REF)
    references: dict[Any, dict[str, Any]] = dict(zip(structs, schemas, strict=True))
    by_key, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template=_REF_PYDANTIC
    )
    taken = components.keys() & definitions.get("$defs", {}).keys()
    definitions = _rename(definitions.get("$defs", {}), taken)
    references |= {model: _rename(schema, taken) for (model, _), schema in by_key.items()}
    for model in models:
        _allow_null(definitions[references[model]["$ref"].rpartition("/")[2]])
    return {**components, **definitions}, cast("dict[Any, Any]", references)


def _allow_null(body: dict[str, Any]) -> None:
    """At the top of a body, null means that a parameter is left out."""
    for name, field in body.get("properties", {}).items():
        allows_null = {"type": "null"} in field.get("anyOf", ()) or None in field.get("enum", ())
        if name not in body.get("required", ()) and not allows_null:
            body["properties"][name] = {"anyOf": [field, {"type": "null"}]}


def _rename(schema: dict[str, Any], taken: AbstractSet[str]) -> dict[str, Any]:
    """Types of requests whose names answers have, too, are called `…Input`."""
    text = json.dumps(schema)
    for name in taken:
        reference = _REF.format(name=name)
        text = text.replace(f'"{reference}"', f'"{reference}Input"')
    renamed: dict[str, Any] = json.loads(text)
    return {f"{key}Input" if key in taken else key: value for key, value in renamed.items()}


def _is_pydantic(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
