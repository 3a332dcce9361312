"""The client against a server that plays one: what is sent, and what an answer becomes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from lmrun.cli.client import Control, parse_refusal, read_sse, stream_chat
from lmrun.errors import LmrunError, Problem, ProfileInvalid, ServerUnreachable
from lmrun.reconcile.outcome import ActionStarted, ApplyEnded
from tests.support.control import FakeServer, refusal


@pytest.mark.parametrize(
    ("lines", "events"),
    [
        ([b"data: a\n", b"\n"], [b"a"]),
        ([b"data:a\r\n", b"\r\n"], [b"a"]),
        ([b": keep-alive\n", b"\n", b"event: x\n", b"data: a\n", b"\n"], [b"a"]),
        ([b"data: a\n", b"data: b\n", b"\n"], [b"a\nb"]),
        ([b"data: cut off\n"], []),
        ([], []),
    ],
)
def test_an_event_stream_is_its_complete_events(lines: list[bytes], events: list[bytes]) -> None:
    assert list(read_sse(lines)) == events


@pytest.mark.parametrize(
    ("status", "body", "message", "hint"),
    [
        (409, b'{"error": {"message": "no", "hint": "yes"}}', "no", "yes"),
        (404, b'{"error": {"message": "no"}}', "no", None),
        (
            401,
            b'{"error": {"message": "no key"}}',
            "no key",
            "Pass --api-key, or set LMRUN_API_KEY.",
        ),
        (502, b"<html>", "The server answered with HTTP status 502.", None),
        (500, b'{"error": {}}', "The server answered with HTTP status 500.", None),
        (500, b'{"error": "text"}', "The server answered with HTTP status 500.", None),
    ],
)
def test_a_refusal_becomes_one_error(
    status: int, body: bytes, message: str, hint: str | None
) -> None:
    error = parse_refusal(status, body)

    assert (error.message, error.hint) == (message, hint)


def test_a_refused_profile_brings_its_problems() -> None:
    problem = Problem("/p.yaml", 3, 5, "models.m", "is wrong")

    error = parse_refusal(400, msgspec.json.encode(refusal("invalid", problems=[problem])))

    assert isinstance(error, ProfileInvalid)
    assert error.problems == (problem,)


def test_nobody_at_the_socket_is_unreachable(home: Path) -> None:
    control = Control(home / "control.sock")

    assert not control.is_listening()
    with pytest.raises(ServerUnreachable, match="No answer from the server"):
        control.status()


def test_events_of_an_apply_arrive_in_order(server: FakeServer) -> None:
    server.events = [ActionStarted("Load", "m"), ApplyEnded(True, 4, None)]

    events = list(
        Control(server.home.control_socket).apply(Path("/p.yaml"), {"A": "1"}, watch=True)
    )

    assert events == server.events
    asked = {
        "file": "/p.yaml",
        "environment": {"A": "1"},
        "watch": True,
        "locked": False,
        "base_generation": None,
        "plan": None,
    }
    assert server.bodies("/lmrun/v1/apply") == [asked]


def test_an_error_ends_an_apply_that_had_begun(server: FakeServer) -> None:
    server.events = [ActionStarted("Load", "m"), refusal("the disk is full")]
    events = Control(server.home.control_socket).apply(Path("/p.yaml"), {}, watch=False)

    assert next(events) == ActionStarted("Load", "m")
    with pytest.raises(LmrunError, match="the disk is full"):
        next(events)


def test_an_answer_of_another_version_is_an_expected_failure(server: FakeServer) -> None:
    server.events = [{"event": "action.dance"}]
    events = Control(server.home.control_socket).apply(Path("/p.yaml"), {}, watch=False)

    with pytest.raises(LmrunError, match="not one this lmrun understands"):
        next(events)


def test_leaving_a_chat_closes_its_connection(server: FakeServer) -> None:
    server.chat = ["one", "two"]
    server.stall_after = 1
    address = str(server.status.server.address)

    with closing(stream_chat(address, {}, api_key=None)) as chunks:
        assert next(chunks)["choices"][0]["delta"]["content"] == "one"
        assert not server.client_left.is_set()

    assert server.client_left.wait(5)


def test_a_chat_that_breaks_off_is_no_complete_answer(server: FakeServer) -> None:
    server.chat = ["half an ans"]
    server.chat_end = b""

    with pytest.raises(ServerUnreachable, match="in the middle of the answer"):
        list(stream_chat(str(server.status.server.address), {}, api_key=None))
