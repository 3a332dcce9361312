"""The OpenAPI document says what the route table says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from lmrun.api.app import build_socket_app, make_routes
from lmrun.api.openai.requests import ChatRequest
from lmrun.api.openapi import make_openapi
from lmrun.api.routes import Call, Response, Route
from lmrun.api.sse import JsonAnswer
from tests.api.conftest import Served, all_routes
from tests.support.http import listening, serving_app
from tests.support.stand_in_pool import StandInPool

DOCUMENT = make_openapi(all_routes())


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def test_it_is_served(served: Served) -> None:
    reply = served.port.ask("GET", "/openapi.json")
    assert reply.status == 200
    assert reply.json == msgspec.json.decode(msgspec.json.encode(DOCUMENT))
    assert reply.json["openapi"] == "3.1.0"


@pytest.mark.parametrize("route", all_routes(), ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_described(route: Route) -> None:
    path = re.sub(r":\w+\}", "}", route.path)
    operation = DOCUMENT["paths"][path][route.method.lower()]
    assert operation["summary"] == route.summary
    assert bool(operation["security"]) is (route.scope is not None)
    assert ("requestBody" in operation) is (route.request is not None)
    statuses = {int(status) for status in operation["responses"]}
    assert statuses >= {*route.responses, 400, 403, 421, 500}
    assert (401 in statuses) is (route.scope is not None)
    if route.request is not None:
        assert statuses >= {408, 413, 415}


def test_nothing_else_is_described() -> None:
    described = {
        (method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods
    }
    assert len(described) == len(all_routes())


def test_every_reference_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for reference in references(DOCUMENT):
        assert reference.removeprefix("#/components/schemas/") in schemas


def test_operations_have_names_of_their_own() -> None:
    names = [
        operation["operationId"]
        for methods in DOCUMENT["paths"].values()
        for operation in methods.values()
    ]
    assert len(set(names)) == len(names)


def test_a_request_is_described_with_its_bounds_and_nothing_more() -> None:
    schema = DOCUMENT["components"]["schemas"]["ChatRequest"]
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(ChatRequest.model_fields)
    assert schema["properties"]["n"]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 8}
    assert schema["properties"]["modalities"]["enum"] == [["text"], None]
    assert schema["properties"]["messages"]["maxItems"] == 4096


@pytest.mark.parametrize("status", [200, 400, 404, 500])
def test_what_generation_answers_has_a_type(status: int) -> None:
    responses = DOCUMENT["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert responses[str(status)]["content"]["application/json"]["schema"]["$ref"]


class Pong(msgspec.Struct):
    """An answer of a route from elsewhere."""

    pong: int


async def answer_pong(call: Call) -> JsonAnswer:
    return JsonAnswer(Pong(int(call.query.get("n", "1"))))


PONG = Route(
    "GET",
    "/lmrun/v1/ping",
    answer_pong,
    "Ping",
    query=("n",),
    responses={200: (Response("Pong", Pong),)},
)


def test_routes_from_elsewhere_join_the_table() -> None:
    document = make_openapi(make_routes(StandInPool(), (PONG,)))
    operation = document["paths"]["/lmrun/v1/ping"]["get"]
    assert operation["parameters"][0]["name"] == "n"
    assert "Pong" in document["components"]["schemas"]


def test_a_socket_app_has_its_routes_and_no_door() -> None:
    with listening(serving_app(build_socket_app((PONG,)))) as port:
        assert port.ask("GET", "/lmrun/v1/ping?n=3", host="evil.example").json == {"pong": 3}
        assert port.ask("GET", "/v1/models").status == 404


def test_types_of_requests_and_of_answers_keep_apart() -> None:
    """Both dialects of one name: a message that is sent and one that is said."""
    document = make_openapi(all_routes())
    schemas = document["components"]["schemas"]
    assert "content" in schemas["AssistantMessage"]["required"]
    request = schemas["ChatRequest"]["properties"]["messages"]["items"]["$ref"]
    message = schemas[request.rpartition("/")[2]]
    calls = message["properties"]["tool_calls"]["anyOf"][0]["items"]["$ref"]
    function = schemas[calls.rpartition("/")[2]]["properties"]["function"]["$ref"]
    assert "parsed_arguments" in schemas[function.rpartition("/")[2]]["properties"]
