"""The listener refuses a door that cannot be built, and keeps the one it has."""

from __future__ import annotations

import asyncio

import pytest

from lmrun.api.app import build_app
from lmrun.api.door import Door
from lmrun.api.listener import PortListener
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
