"""What the reference says of a parameter is what becomes of it."""

from __future__ import annotations

import pytest

from lmrun.api.fields import EFFECT
from lmrun.api.routes import Route
from tests.api.conftest import all_routes

ROUTES = {route.path: route for route in all_routes() if route.request is not None}


def effects(route: Route) -> dict[str, str]:
    """What is said to become of each parameter that is not simply honoured."""
    found: dict[str, str] = {}
    for name, field in route.request.model_json_schema()["properties"].items():
        for choice in (field, *field.get("anyOf", ())):
            if EFFECT in choice:
                found[name] = choice[EFFECT]
                assert field["description"], name
    return found


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v1/responses/input_tokens", {"text", "truncation", "parallel_tool_calls"}),
        ("/v1/messages/count_tokens", {"output_format", "cache_control"}),
        ("/apply-template", {"parallel_tool_calls"}),
    ],
)
def test_what_decides_on_the_answer_alone_has_no_effect_on_a_prompt(
    path: str, names: set[str]
) -> None:
    without = {name for name, effect in effects(ROUTES[path]).items() if effect == "none"}
    assert without == names
