"""API keys: every carrier, every route, every kind of key decide alike."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from lmrun.api.door import (
    Door,
    Head,
    Key,
    check_key,
    find_credentials,
    find_hello_credentials,
)
from lmrun.api.errors import ResponseNotFound
from lmrun.api.routes import Route
from lmrun.errors import Unauthorized
from lmrun.settings.secret import Secret
from tests.api.conftest import Served, all_routes

KEY = "k" * 40
OTHER = "o" * 40
LOCKED = Door(keys=(Key("ci", Secret(KEY), frozenset({"inference"})),))
NEEDS_SESSION = "/mcp"
"""What is to be ended here is named in a header, and is not."""

CLOSED_ROUTES = [route for route in all_routes() if route.scope is not None]
CARRIERS: dict[str, Callable[[str], dict[str, str]]] = {
    "bearer": lambda key: {"authorization": f"Bearer {key}"},
    "bearer in lower case": lambda key: {"authorization": f"bearer  {key} "},
    "x-api-key": lambda key: {"x_api_key": key},
    "both": lambda key: {"authorization": f"Bearer {key}", "x_api_key": key},
}
WRONG_KEYS = {
    "another": OTHER,
    "its beginning": KEY[:-1],
    "longer": KEY + "k",
    "other case": KEY.upper(),
    "empty": "",
    "not ASCII": "\xff" * 40,
}


def fill(path: str) -> str:
    return re.sub(r"\{.*?\}", "assistant", path)


@pytest.fixture(autouse=True)
def _patient(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many wrong keys are the point here, not the limit on them."""
    monkeypatch.setattr("lmrun.api.http.throttle.BURST", 10**6)


@pytest.mark.parametrize("route", CLOSED_ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_no_key_is_a_401_on_every_route(served: Served, route: Route) -> None:
    served.set_door(LOCKED)
    reply = served.port.ask(route.method, fill(route.path), {})
    assert (reply.status, reply.code) == (401, "invalid_api_key")
    assert reply.header("www-authenticate") == 'Bearer realm="lmrun"'


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "X"]
)
@pytest.mark.parametrize(
    "path", ["/", "/docs", "/metrics", "/health/", "//health", "/v1/%2e%2e/health", "*"]
)
def test_no_key_is_a_401_on_paths_that_do_not_exist(served: Served, method: str, path: str) -> None:
    served.set_door(LOCKED)
    assert served.port.ask(method, path, {}).status == 401


def test_a_host_that_looks_like_an_open_path_opens_nothing(served: Served) -> None:
    served.set_door(LOCKED)
    for host in ("x/health?y=", f"127.0.0.1:{served.port.number}/health?y="):
        assert served.port.ask("GET", "/v1/models", host=host).status == 421
    assert served.port.ask("GET", "/v1/models?/health").status == 401


def test_health_is_open_to_probes(served: Served) -> None:
    served.set_door(LOCKED)
    assert served.port.ask("GET", "/health").json == {"status": "ok"}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("route", CLOSED_ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_the_key_opens_every_route_by_every_carrier(
    served: Served, route: Route, carrier: str
) -> None:
    assert route.scope is not None
    served.set_door(Door(keys=(Key("ci", Secret(KEY), frozenset({route.scope})),)))
    reply = served.port.ask(route.method, fill(route.path), {}, **CARRIERS[carrier](KEY))
    # A route without a good answer never finds what it is asked for; nor does one for what is
    # stored, since nothing is.
    finds = bool(route.responses) and ResponseNotFound not in route.errors
    expected = 400 if route.request is not None else 200 if finds else 404
    assert reply.status == (400 if route.path == NEEDS_SESSION else expected)


@pytest.mark.parametrize("wrong", WRONG_KEYS)
@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("route", CLOSED_ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_wrong_key_opens_no_route_by_any_carrier(
    served: Served, route: Route, carrier: str, wrong: str
) -> None:
    served.set_door(LOCKED)
    headers = CARRIERS[carrier](WRONG_KEYS[wrong])
    assert served.port.ask(route.method, fill(route.path), {}, **headers).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": [f"Bearer {KEY}", f"Bearer {OTHER}"]},
        {"authorization": [f"Bearer {KEY}"], "x-api-key": [OTHER]},
        {"authorization": [f"Bearer {OTHER}"], "x-api-key": [KEY]},
        {"authorization": [f"Basic {KEY}"]},
        {"authorization": [KEY]},
        {"authorization": [""]},
        {"authorization": ["Bearer"]},
        {"cookie": [f"key={KEY}"]},
    ],
)
def test_doubtful_credentials_are_refused(headers: dict[str, list[str]]) -> None:
    with pytest.raises(Unauthorized):
        check_key(LOCKED, find_credentials(Head("GET", headers, None)))


TOKEN = "sk-lm-Ab3dEf7h:0123456789abcdefghij"
LM_STUDIO = Door(keys=(Key("sdk", Secret(TOKEN), frozenset({"inference"})),))


def hello(identifier: object, passkey: object) -> dict[str, object]:
    """The first frame of LM Studio's SDKs."""
    return {"authVersion": 1, "clientIdentifier": identifier, "clientPasskey": passkey}


def test_a_token_that_lm_studios_sdk_has_cut_in_two_is_the_same_key() -> None:
    parts = TOKEN.removeprefix("sk-lm-").split(":")
    cut = find_hello_credentials(hello(*parts))
    whole = find_credentials(Head("GET", {"authorization": [f"Bearer {TOKEN}"]}, None))
    assert cut == whole == {TOKEN}
    assert check_key(LM_STUDIO, cut).name == "sdk"


@pytest.mark.parametrize(
    ("identifier", "passkey"),
    [
        ("guest:0123456789abcdef01234567", "0123456789abcdefghij0123"),
        ("2b5e0a0c-7f0e-4a6e-9d53-6f1f7a2f5d11", "93a1a8c4-9e0a-4c8b-8a53-5a8f6f2c7b21"),
        ("Ab3dEf7h", "0123456789abcdefghi"),
        ("Ab3dEf7h:x", "0123456789abcdefghij"),
        ("Ab3dEf7h\n", "0123456789abcdefghij"),
        ("", ""),
        (None, None),
        (8, 20),
        (["Ab3dEf7h"], "0123456789abcdefghij"),
    ],
)
def test_what_such_a_client_makes_up_is_no_key(identifier: object, passkey: object) -> None:
    credentials = find_hello_credentials(hello(identifier, passkey))
    assert credentials == frozenset()
    with pytest.raises(Unauthorized):
        check_key(LM_STUDIO, credentials)
    assert find_hello_credentials({}) == frozenset()


@pytest.mark.parametrize("name", ["authorization", "x-api-key"])
def test_a_handshakes_head_carries_a_key_as_a_request_does(name: str) -> None:
    value = f"Bearer {KEY}" if name == "authorization" else KEY
    head = Head("POST", {name: [value]}, None, is_websocket=True)
    assert check_key(LOCKED, find_credentials(head)).name == "ci"


def test_admin_includes_every_scope(served: Served) -> None:
    served.set_door(Door(keys=(Key("root", Secret(KEY), frozenset({"admin"})),)))
    for route in CLOSED_ROUTES:
        reply = served.port.ask(route.method, fill(route.path), {}, x_api_key=KEY)
        assert reply.status not in (401, 403)


def test_a_claimed_scope_counts_for_nothing(served: Served) -> None:
    served.set_door(Door(keys=(Key("none", Secret(KEY), frozenset()),)))
    headers = {"x_api_key": KEY, "x_lmrun_scopes": "inference", "x_scopes": "admin"}
    reply = served.port.ask("GET", "/v1/models", **headers)
    assert (reply.status, reply.code) == (403, "forbidden")


def test_without_configured_keys_any_key_is_as_good_as_none(served: Served) -> None:
    for headers in ({}, {"authorization": "Bearer lm-studio"}):
        assert served.port.ask("GET", "/v1/models", **headers).status == 200


def test_a_removed_key_is_refused_from_the_next_request_on(served: Served) -> None:
    served.set_door(LOCKED)
    assert served.port.ask("GET", "/v1/models", x_api_key=KEY).status == 200
    served.set_door(Door(keys=(Key("new", Secret(OTHER), frozenset({"inference"})),)))
    assert served.port.ask("GET", "/v1/models", x_api_key=KEY).status == 401
    assert served.port.ask("GET", "/v1/models", x_api_key=OTHER).status == 200


def test_too_many_wrong_keys_are_a_429(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmrun.api.http.throttle.BURST", 0)
    served.set_door(LOCKED)
    reply = served.port.ask("GET", "/v1/models", x_api_key=KEY)
    assert (reply.status, reply.code) == (429, "too_many_attempts")
    assert reply.header("retry-after") == "1"
    assert served.port.ask("GET", "/health").status == 200
