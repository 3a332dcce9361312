"""A listening server per test module, on the stand-in pool."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from starlette.types import ASGIApp

from lmrun.api.app import build_app, make_routes
from lmrun.api.door import Door
from lmrun.api.mcp.routes import make_mcp_routes
from lmrun.api.responses.routes import make_responses_routes
from lmrun.api.routes import Route
from tests.support.http import Port, listening
from tests.support.stand_in_house import StandInHouse, lmstudio_routes, running
from tests.support.stand_in_pool import StandInPool


@dataclass
class Served:
    """A server and what it serves; `door` may be replaced at any time."""

    port: Port
    pool: StandInPool
    house: StandInHouse
    door: Door = field(default_factory=Door)

    def set_door(self, door: Door) -> None:
        self.door = door


@pytest.fixture(scope="module")
def _served() -> Iterator[Served]:
    pool = StandInPool()
    doors: list[Callable[[], Door]] = []
    house = StandInHouse(pool)

    @asynccontextmanager
    async def make_app() -> AsyncIterator[ASGIApp]:
        async with running(house.mcp):
            yield build_app(pool, lambda: doors[0](), house_routes(house))

    with listening(make_app) as port:
        served = Served(port, pool, house)
        doors.append(lambda: served.door)
        yield served


@pytest.fixture
def served(_served: Served) -> Served:
    """The module's server, as new: an open door, an idle pool that stops nowhere."""
    _served.door = Door()
    pool = _served.pool
    pool.pieces = ("Hello", " world")
    pool.said = ()
    pool.stop_at = pool.fail_at = None
    for log in (pool.prompts, pool.predictions, pool.reached, pool.ttls_s, pool.priorities):
        log.clear()
    return _served


def house_routes(house: StandInHouse) -> tuple[Route, ...]:
    """What the composition root adds to the table."""
    responses = make_responses_routes(house.pool, house.conversations)
    return (*responses, *lmstudio_routes(house), *make_mcp_routes(house.mcp))


def all_routes() -> list[Route]:
    """The port's own table, for matrices."""
    pool = StandInPool()
    return list(make_routes(pool, house_routes(StandInHouse(pool))))
