"""A server with telemetry on a real pool of scripted models."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from lmrun.api.app import build_app
from lmrun.api.door import Door
from lmrun.api.telemetry.routes import telemetry_routes
from lmrun.api.telemetry.server_log import feeding
from lmrun.api.telemetry.telemetry import Telemetry
from lmrun.profile.schema import LogConfig
from lmrun.runtime.instance import Instance
from lmrun.runtime.pool import Pool
from tests.support.http import Port, listening
from tests.support.instances import make_spec, open_pool, script

SCRIPT = script(
    {"match": "endless", "pieces": ["tick "], "repeat": 100_000, "seconds_per_token": 0.005},
    {"match": "crash", "pieces": ["a", "b"], "crash": {"signal": 9, "after": 1}},
    {"match": "fail", "pieces": ["a", "b"], "fail": {"after": 1, "message": "It cannot go on."}},
    {"match": "slowly", "pieces": ["a", "b", "c"], "seconds_per_token": 0.08},
    {"pieces": ["Hel", "lo", " world"]},
    chat_template="{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}",
)


@dataclass
class Watched:
    """`door` and `log` may be replaced at any time."""

    port: Port
    telemetry: Telemetry
    pool: Pool
    door: Door = field(default_factory=Door)
    log: LogConfig = field(default_factory=LogConfig)

    def chat(self, text: str, **more: Any) -> Any:
        body = {"model": "a", "messages": [{"role": "user", "content": text}], **more}
        headers = {"x_request_id": "r-1"}
        return self.port.ask("POST", "/v1/chat/completions", body, **headers)


@pytest.fixture(scope="module")
def _watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder: Path = tmp_path_factory.mktemp("models")
    made: list[Watched] = []
    pools: list[Pool] = []

    def instances() -> Mapping[str, Instance]:
        return pools[0].instances

    @asynccontextmanager
    async def make_app() -> AsyncIterator[ASGIApp]:
        telemetry = Telemetry(instances, lambda: made[0].log)
        spec = make_spec(folder, SCRIPT, identifier="a")
        async with open_pool(spec, observer=telemetry) as pool:
            pools.append(pool)
            app = build_app(
                pool,
                lambda: made[0].door,
                telemetry_routes(telemetry),
                telemetry.note_request,
            )
            made.append(Watched(Port(0), telemetry, pool))
            with feeding(telemetry.feed, lambda: made[0].log):
                yield app
                telemetry.feed.close()
                await asyncio.sleep(0)

    with listening(make_app) as port:
        made[0].port = port
        yield made[0]


@pytest.fixture
def watched(_watched: Watched, caplog: pytest.LogCaptureFixture) -> Watched:
    """The module's server, with an open door and the log as it is by default."""
    caplog.set_level(logging.INFO)
    _watched.door, _watched.log = Door(), LogConfig()
    return _watched


class Stream:
    """An open log stream; what it says next."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines

    def next(self) -> dict[str, Any]:
        for line in self._lines:
            if line.startswith(b"data: "):
                found: dict[str, Any] = json.loads(line[6:])
                return found
        raise AssertionError("the stream has ended")

    def until(self, kind: str) -> dict[str, Any]:
        """The next event of the type `kind`."""
        while (event := self.next())["type"] != kind:
            pass
        return event


@contextlib.contextmanager
def following(port: Port, query: str = "", **headers: str) -> Iterator[Stream]:
    """The log stream, from the moment that it listens."""
    with port.connect() as sock:
        head = [f"GET /lmrun/v1/logs{query} HTTP/1.1", f"Host: localhost:{port.number}"]
        head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        sock.sendall("\r\n".join([*head, "", ""]).encode())
        lines = iter(sock.makefile("rb").readline, b"")
        assert next(lines).split()[1] == b"200"
        assert any(line == b": listening\n" for line in lines)
        yield Stream(lines)
