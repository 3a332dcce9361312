"""Parameters that nobody knows: a 400 that names them, or passed over and named."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from lmrun.api.door import Door
from lmrun.api.leniency import MAX_NAMES, MAX_ROUNDS, drop_unknown, show_names
from lmrun.api.openai.requests import ChatRequest
from lmrun.api.routes import Route
from lmrun.profile.schema import Compat, ServerConfig
from lmrun.settings.base import Settings
from tests.api.conftest import Served, all_routes
from tests.api.test_door_matrix import fill

LENIENT = Door(is_lenient=True)
HEADER = "x-lmrun-ignored-parameters"
WITH_BODY = [
    route
    for route in all_routes()
    if isinstance(route.request, type) and issubclass(route.request, BaseModel)
]
CHAT: dict[str, Any] = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda it: it.path)
def test_every_route_refuses_an_unknown_parameter_by_name(served: Served, route: Route) -> None:
    reply = served.port.ask(route.method, fill(route.path), {"frobnicate": 1})
    assert reply.status == 400
    assert b"frobnicate" in reply.body


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda it: it.path)
def test_every_route_passes_over_an_unknown_parameter_where_told(
    served: Served, route: Route
) -> None:
    served.set_door(LENIENT)
    reply = served.port.ask(route.method, fill(route.path), {"frobnicate": 1})
    assert reply.header(HEADER) == "frobnicate"
    assert b"frobnicate" not in reply.body


def test_an_ignored_parameter_is_named_in_the_answer_and_the_log(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.set_door(LENIENT)
    body = {**CHAT, "num_ctx": 1, "messages": [{"role": "user", "content": "hi", "id": 7}]}
    with caplog.at_level(logging.WARNING):
        reply = served.port.ask("POST", "/v1/chat/completions?beta=1", body, x_request_id="r-1")
    assert reply.status == 200
    assert reply.header(HEADER) == "?beta, num_ctx, messages[0].id"
    assert caplog.messages == [
        "request r-1: ignored parameters: ?beta, num_ctx, messages[0].id",
    ]


def test_a_stream_names_them_before_its_first_event(served: Served) -> None:
    served.set_door(LENIENT)
    reply = served.port.ask("POST", "/v1/chat/completions", {**CHAT, "x": 1, "stream": True})
    assert reply.status == 200
    assert reply.header(HEADER) == "x"


def test_a_wrong_value_is_wrong_all_the_same(served: Served) -> None:
    served.set_door(LENIENT)
    reply = served.port.ask("POST", "/v1/chat/completions", {**CHAT, "x": 1, "temperature": "warm"})
    assert (reply.status, reply.json["error"]["param"]) == (400, "temperature")
    assert reply.header(HEADER) == "x"


def test_a_known_parameter_that_is_not_supported_is_refused_all_the_same(served: Served) -> None:
    served.set_door(LENIENT)
    reply = served.port.ask("POST", "/v1/chat/completions", {**CHAT, "audio": {"voice": "x"}})
    assert (reply.status, reply.code) == (400, "unsupported_parameter")


def test_the_profile_decides() -> None:
    assert not Door.from_config(ServerConfig()).is_lenient
    config = ServerConfig(compat=Compat(unknown_parameters="warn"))
    assert Door.from_config(config).is_lenient


def test_an_answer_without_unknown_parameters_has_no_such_header(served: Served) -> None:
    served.set_door(LENIENT)
    assert served.port.ask("POST", "/v1/chat/completions", CHAT).header(HEADER) is None


class Circle(Settings):
    kind: Literal["circle"]
    radius: float


class Square(Settings):
    kind: Literal["square"]
    side: float


class Label(Settings):
    """Its form has the name of one of its fields."""

    kind: Literal["label"]
    label: str


class Plain(Settings):
    left: int


class Other(Settings):
    right: int


class Shapes(Settings):
    shapes: Annotated[
        tuple[Annotated[Circle | Square | Label, Field(discriminator="kind")], ...],
        Field(strict=False),
    ] = ()
    either: Plain | Other | None = None
    renamed: int = Field(0, alias="another")


def drop(body: Mapping[str, Any]) -> tuple[Any, list[str]]:
    return drop_unknown(Shapes, body, 100)


def test_what_a_value_says_it_is_decides_what_it_may_have() -> None:
    body = {"shapes": [{"kind": "circle", "radius": 1, "side": 2}, {"kind": "square", "side": 2}]}
    kept, names = drop(body)
    assert names == ["shapes[0].side"]
    assert kept == {"shapes": [{"kind": "circle", "radius": 1}, {"kind": "square", "side": 2}]}
    assert body["shapes"][0]["side"] == 2, "the client's own is not touched"


def test_a_form_may_have_the_name_of_one_of_its_fields() -> None:
    label = {"kind": "label", "label": "x"}
    assert drop({"shapes": [{**label, "side": 2}]}) == ({"shapes": [label]}, ["shapes[0].side"])


@pytest.mark.parametrize("value", [{"left": 1, "right": 2}, {"left": 1, "x": 2}])
def test_what_might_belong_to_another_form_stays_and_is_refused(value: dict[str, int]) -> None:
    assert drop({"either": value}) == ({"either": value}, [])


def test_a_field_is_known_by_its_name_in_json() -> None:
    assert drop({"another": 1, "renamed": 2}) == ({"another": 1}, ["renamed"])


@pytest.mark.parametrize("body", [None, 1, "x", [], [{"x": 1}]])
def test_what_is_no_object_is_left_to_who_refuses_it(body: Any) -> None:
    assert drop_unknown(Shapes, body, 1) == (body, [])


def test_each_message_may_have_something_unknown() -> None:
    messages = [{"role": "user", "content": "x", "id": n} for n in range(MAX_ROUNDS - 1)]
    start = time.perf_counter()
    kept, names = drop_unknown(ChatRequest, {"model": "m", "messages": messages}, 10_000)
    assert names[-1] == f"messages[{MAX_ROUNDS - 2}].id"
    assert all("id" not in message for message in kept["messages"])
    assert time.perf_counter() - start < 2


def test_a_large_body_is_looked_at_less_often() -> None:
    messages = [{"role": "user", "content": "x", "id": n} for n in range(10)]
    body = {"model": "m", "messages": messages}
    assert len(drop_unknown(ChatRequest, body, 32 * 2**20)[1]) == 2


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["a", "b[0].c"], "a, b[0].c"),
        (["evil\r\nset-cookie: x", "ü", "a,b"], "evil??set-cookie: x, ?, a?b"),
        (["n" * 200], "n" * 80),
        (["x"] * (MAX_NAMES + 2), ", ".join(["x"] * MAX_NAMES) + ", and 2 more"),
    ],
)
def test_names_can_go_into_a_header(names: list[str], shown: str) -> None:
    assert show_names(names) == shown
