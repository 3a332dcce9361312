"""What LM Studio's routes answer from, without files, workers or a profile: the stand-in pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from lmrun.api.acting.workshop import EmptyWorkshop, Workshop
from lmrun.api.lmstudio.routes import make_lmstudio_routes
from lmrun.api.lmstudio.v0.stats import make_extension
from lmrun.api.mcp.offer import Offering
from lmrun.api.mcp.server import McpServer
from lmrun.api.openai.routes import make_generation_routes
from lmrun.api.routes import Route
from lmrun.catalog.description import ModelFile
from lmrun.errors import ModelNotFound
from lmrun.reconcile.declared import DeclaredModel, LoadedInstance
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.load import LoadConfig
from lmrun.store.conversations import Conversations
from tests.support.stand_in_pool import StandInPool

FILE = ModelFile("llm", None, 1)


class StandInModels:
    """Every instance of the pool is a declared model; what is loaded was loaded already."""

    def __init__(self, pool: StandInPool) -> None:
        self._pool = pool
        self.asked: list[Mapping[str, Any]] = []
        self.unloaded: list[str] = []

    async def list(self) -> tuple[DeclaredModel, ...]:
        return tuple(
            DeclaredModel(name, name, LoadConfig(), "", FILE) for name in self._pool.instances
        )

    async def describe(self, spec: InstanceSpec) -> ModelFile:
        return FILE

    async def load(
        self,
        name: str,
        settings: Mapping[str, Any],
        *,
        owner: str,
        ttl_s: float | None = None,
    ) -> LoadedInstance:
        self.asked.append(settings)
        for model in await self.list():
            if model.key == name:
                return LoadedInstance(model, self._pool.instances[name], 0.5)
        raise ModelNotFound(f"There is no model {name!r}.", param="model")

    async def unload(self, identifier: str, *, owner: str) -> None:
        if identifier not in self._pool.instances:
            raise ModelNotFound(f"There is no {identifier!r}.", param="instance_id")
        self.unloaded.append(identifier)


class StandInHouse:
    """The pool, its models, conversations in memory, and a workshop: an empty one, unless a test
    brings another."""

    def __init__(self, pool: StandInPool, workshop: Workshop | None = None) -> None:
        self.pool = pool
        self.workshop = workshop or EmptyWorkshop()
        self.mcp = McpServer(Offering(pool, self.workshop))
        self.declared = StandInModels(pool)
        self.conversations = Conversations()


@asynccontextmanager
async def running(server: McpServer) -> AsyncIterator[None]:
    """lmrun's MCP server, answering."""
    task = asyncio.create_task(server.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def lmstudio_routes(house: StandInHouse) -> tuple[Route, ...]:
    """All rows of the dialect, /api/v0's in OpenAI's words included."""
    return (
        *make_lmstudio_routes(house),
        *make_generation_routes(house.pool, "/api/v0", make_extension(house)),
    )
