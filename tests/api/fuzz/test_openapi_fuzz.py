"""Every operation of /openapi.json under generated requests: no server error, no undocumented
status, no answer that its own schema does not allow. `make fuzz-api` sends more of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from lmrun.api.openapi import make_openapi
from lmrun.reference import list_routes
from tests.support.profiles import write_profile
from tests.support.server import Server, serving

EXAMPLES = int(os.environ.get("LMRUN_FUZZ_API", "15"))

EVENT_STREAM = "text/event-stream"

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
"""Left out: `positive_data_acceptance`, since a body that fits its schema may still be refused by
name (an unknown model, a setting that this model cannot honour): that is honour or refuse. The
checks on headers and methods are in the matrices of the door, made from the same table."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    script = home / "m.scripted.json"
    script.write_text(json.dumps({"replies": [{"pieces": ["Hello", " world"]}]}))
    profile = write_profile(home / "p.yaml", {"m": {"source": f"file:{script}"}})
    with serving(home, profile) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: Server) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{server.address}/openapi.json")


def list_operations() -> list[tuple[str, str, GenerationMode]]:
    """Method and path of every row of the port's table, with what fits its schema; those that take
    anything also with what does not. Streams that end when the client goes are left out."""
    paths = make_openapi(list_routes())["paths"]
    return [
        (method, path, mode)
        for path, item in paths.items()
        for method, operation in item.items()
        if not (method == "get" and EVENT_STREAM in str(operation["responses"]))
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        if mode is GenerationMode.POSITIVE or "requestBody" in operation
    ]


@pytest.mark.parametrize(("method", "path", "mode"), list_operations())
def test_no_request_breaks_the_server_or_its_word(
    api: schemathesis.BaseSchema, method: str, path: str, mode: GenerationMode
) -> None:
    @given(case=api[path][method].as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],  # what failed first is what there is to see
        suppress_health_check=list(HealthCheck),
    )
    def check(case: schemathesis.Case[Any]) -> None:
        body = case.body
        name = body.get("model") if isinstance(body, dict) else None
        if isinstance(body, dict) and isinstance(name, str) and 0 < len(name) < 512:
            # An unknown model would end every request at the same place.
            body["model"] = "m"
        case.call_and_validate(checks=CHECKS, timeout=20)

    check()
