"""The listener refuses a door that cannot be built, and keeps the one it has."""

from __future__ import annotations

import asyncio

import pytest

from lmrun.api.app import build_app
from lmrun.api.door import Door
from lmrun.api.listener import DATE_S, EmbeddedServer, PortListener
from lmrun.errors import AddressRefused
from lmrun.profile.schema import ServerConfig
from tests.support.stand_in_pool import StandInPool

GOOD = ServerConfig(port=0)
BAD = ServerConfig(port=0, allowed_hosts=("a:b:c",))


def test_a_host_that_is_none_changes_nothing() -> None:
    async def body() -> None:
        listener = PortListener(build_app(StandInPool(), Door))
        with pytest.raises(AddressRefused, match="a:b:c"):
            await listener.listen(BAD)
        assert listener.address is None
        await listener.listen(GOOD)
        with pytest.raises(AddressRefused):
            listener.update(BAD)
        assert listener.config == GOOD
        await listener.close(drain_s=1)

    asyncio.run(body())


def test_a_listener_sleeps_until_it_is_told_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    on_tick = EmbeddedServer.on_tick

    async def count(server: EmbeddedServer, counter: int) -> bool:
        looks.append(counter)
        return await on_tick(server, counter)

    monkeypatch.setattr(EmbeddedServer, "on_tick", count)

    async def body() -> None:
        listener = PortListener(build_app(StandInPool(), Door))
        await listener.listen(GOOD)
        await asyncio.sleep(0.35)
        assert len(looks) == 1  # after the first, one a second; uvicorn's own loop has three by now
        async with asyncio.timeout(DATE_S / 2):
            await listener.close(drain_s=1)

    asyncio.run(body())
