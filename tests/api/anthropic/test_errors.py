"""Whatever goes wrong on Anthropic's paths, at the door or behind it, is said Anthropic's way."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.api.anthropic.envelope import ANTHROPIC
from lmrun.api.door import Door, Key
from lmrun.errors import EngineCrashed, LmrunError, ModelNotReady, QueueFull
from lmrun.settings.secret import Secret
from tests.api.anthropic.bodies import BODY
from tests.api.conftest import Served
from tests.support.http import Reply

ASK: dict[str, Any] = {**BODY, "model": "assistant"}
LOCKED = Door(keys=(Key("ci", Secret("k" * 40), frozenset({"inference"})),))


def error_of(reply: Reply) -> tuple[int, str]:
    """Its status and type; the rest is checked here."""
    assert set(reply.json) == {"type", "error", "request_id"}
    assert reply.json["type"] == "error"
    assert reply.json["request_id"] == reply.header("request-id") == reply.header("x-request-id")
    assert set(reply.json["error"]) == {"type", "message", "details"}
    return reply.status, reply.json["error"]["type"]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_errors_before_the_handler_are_anthropics(served: Served, path: str) -> None:
    port = served.port
    assert error_of(port.ask("GET", path)) == (405, "invalid_request_error")
    assert error_of(port.ask("POST", path, ASK, host="evil.example")) == (
        421,
        "invalid_request_error",
    )
    assert error_of(port.ask("POST", path, ASK, origin="http://evil.example")) == (
        403,
        "permission_error",
    )
    assert error_of(port.ask("POST", path, ASK, content_type="text/plain")) == (
        415,
        "invalid_request_error",
    )
    assert error_of(port.ask("POST", path, "no object")) == (400, "invalid_request_error")
    assert error_of(port.ask("POST", path + "?colour=red", ASK)) == (400, "invalid_request_error")
    assert error_of(port.ask("POST", path + "?beta=false", ASK)) == (400, "invalid_request_error")
    big = {**ASK, "system": "x" * 2_000}
    served.set_door(Door(body_limit_bytes=1_000))
    assert error_of(port.ask("POST", path, big)) == (413, "request_too_large")
    served.set_door(LOCKED)
    assert error_of(port.ask("POST", path, ASK)) == (401, "authentication_error")
    reply = port.ask("POST", path, ASK, x_api_key="k" * 40)
    assert reply.status in (200, 400)


def test_unknown_fields_are_left_out_where_the_door_is_lenient(served: Served) -> None:
    served.set_door(Door(is_lenient=True))
    block = {"type": "text", "text": "hi", "colour": "red"}
    body = {**ASK, "messages": [{"role": "user", "content": [block]}], "mood": "good"}
    reply = served.port.ask("POST", "/v1/messages", body)
    assert reply.status == 200
    assert reply.header("x-lmrun-ignored-parameters") == "mood, messages[0].content[0].colour"


def test_other_paths_keep_their_own_envelope(served: Served) -> None:
    reply = served.port.ask("POST", "/v1/messages/batches", ASK)
    assert (reply.status, reply.code) == (404, "unknown_url")
    assert reply.header("request-id") is None


@pytest.mark.parametrize(
    ("kind", "status"),
    [(ModelNotReady, 529), (QueueFull, 529), (EngineCrashed, 500), (LmrunError, 500)],
)
def test_no_room_just_now_is_an_overload(kind: type[LmrunError], status: int) -> None:
    assert ANTHROPIC.to_status(kind) == status


def test_a_model_that_is_not_ready_says_when_to_ask_again(served: Served) -> None:
    served.pool.fail_at = "queue"
    served.pool.failure = ModelNotReady("It is being loaded.", retry_after_s=3)
    for stream in (False, True):
        reply = served.port.ask("POST", "/v1/messages", {**ASK, "stream": stream})
        assert error_of(reply) == (529, "overloaded_error")
        assert reply.header("retry-after") == "3"


def test_an_unexpected_failure_is_an_api_error(served: Served) -> None:
    served.pool.fail_at = "prefill"
    served.pool.failure = RuntimeError("secret")
    reply = served.port.ask("POST", "/v1/messages", ASK)
    assert error_of(reply) == (500, "api_error")
    assert b"secret" not in reply.body


def test_a_stream_that_fails_ends_with_an_error_event(served: Served) -> None:
    served.pool.fail_at = "mid-stream"
    served.pool.failure = EngineCrashed("It died.", returncode=-9)
    reply = served.port.ask("POST", "/v1/messages", {**ASK, "stream": True})
    assert reply.status == 200
    last = reply.body.decode().rstrip().split("\n\n")[-1]
    assert last.startswith('event: error\ndata: {"type":"error","error":{"type":"api_error"')
    assert str(reply.header("request-id")) in last
