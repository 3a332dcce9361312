"""What is known of a request when it has ended: one record each, whatever became of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lmrun.api.app import build_app
from lmrun.api.door import Door, Key
from lmrun.api.http.record import CLIENT_GONE, Record, current_record
from lmrun.settings.secret import Secret
from tests.support.http import Port, listening, serving_app, wait_until
from tests.support.stand_in_pool import StandInPool

KEY = "k" * 40
LOCKED = Door(keys=(Key("ci", Secret(KEY), frozenset({"inference"})),))


class Recorded:
    def __init__(self, port: Port, pool: StandInPool, records: list[Record]) -> None:
        self.port = port
        self.pool = pool
        self.records = records

    def only(self) -> Record:
        """The one record; it is there once the answer was sent."""
        wait_until(lambda: len(self.records) == 1)
        return self.records[0]


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    pool, records = StandInPool(), list[Record]()
    app = build_app(pool, lambda: LOCKED, on_end=records.append)
    with listening(serving_app(app)) as port:
        yield Recorded(port, pool, records)


def test_a_record_tells_method_path_route_status_key_and_time(recorded: Recorded) -> None:
    recorded.port.ask("GET", "/v1/models/org%2Fname?", x_api_key=KEY, x_request_id="r-1")
    record = recorded.only()
    assert (record.method, record.path) == ("GET", "/v1/models/org%2Fname")
    assert (record.route, record.status) == ("/v1/models/{id:path}", 404)
    assert (record.key, record.request_id, record.peer) == ("ci", "r-1", "127.0.0.1")
    assert 0 < record.seconds < 5
    assert record.is_whole


def test_the_query_is_not_kept(recorded: Recorded) -> None:
    recorded.port.ask("GET", "/v1/models?api_key=secret", x_api_key=KEY)
    assert "secret" not in repr(recorded.only())


@pytest.mark.parametrize(
    ("path", "headers", "status", "route", "key"),
    [
        ("/v1/models", {}, 401, None, None),
        ("/v1/models", {"x_api_key": "wrong"}, 401, None, None),
        ("/v1/models", {"host": "evil"}, 421, None, None),
        ("/nowhere", {"x_api_key": KEY}, 404, None, "ci"),
        ("/metrics", {"x_api_key": KEY}, 404, None, "ci"),
    ],
)
def test_a_refusal_is_recorded_too(
    recorded: Recorded,
    path: str,
    headers: dict[str, str],
    status: int,
    route: str | None,
    key: str | None,
) -> None:
    recorded.port.ask("GET", path, **headers)
    record = recorded.only()
    assert (record.status, record.route, record.key) == (status, route, key)


def test_a_path_that_would_break_a_line_does_not(recorded: Recorded) -> None:
    recorded.port.ask("GET", "/%0aINFO%20evil" + "x" * 500, x_api_key=KEY)
    record = recorded.only()
    assert record.path.startswith("/%0aINFO%20evil")
    assert len(record.path) == 200


@pytest.mark.parametrize("phase", ["queue", "mid-stream"])
def test_who_leaves_is_recorded_as_gone(recorded: Recorded, phase: str) -> None:
    recorded.pool.stop_at = phase  # type: ignore[assignment]  # two of its phases
    body = json.dumps({"model": "assistant", "prompt": "x", "stream": True}).encode()
    with recorded.port.connect() as sock:
        sock.sendall(
            f"POST /v1/completions HTTP/1.1\r\nHost: localhost:{recorded.port.number}\r\n"
            f"X-Api-Key: {KEY}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        wait_until(lambda: phase in recorded.pool.reached)
    record = recorded.only()
    assert record.status == (CLIENT_GONE if phase == "queue" else 200)
    assert not record.is_whole


def test_outside_a_request_there_is_no_record() -> None:
    assert current_record() is None
