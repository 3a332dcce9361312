"""What LM Studio's dialect needs of the house. It knows no HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from lmrun.api.acting.workshop import Workshop
from lmrun.api.serving import Pool
from lmrun.catalog.description import ModelFile
from lmrun.reconcile.declared import DeclaredModel, LoadedInstance
from lmrun.runtime.spec import InstanceSpec
from lmrun.store.conversations import Turn


class Models(Protocol):
    """The models that the profile declares."""

    async def list(self) -> tuple[DeclaredModel, ...]:
        """Those that can be loaded: their files are on this machine."""

    async def describe(self, spec: InstanceSpec) -> ModelFile:
        """What an instance's file says of itself."""

    async def load(
        self,
        name: str,
        settings: Mapping[str, Any],
        *,
        owner: str,
        ttl_s: float | None = None,
    ) -> LoadedInstance:
        """An instance with these load settings, loaded now if there is none. Raises ModelNotFound,
        ModelNotReady, InvalidParameter, and what a load raises."""

    async def unload(self, identifier: str, *, owner: str) -> None:
        """End an instance. Raises ModelNotFound and ModelNotReady."""


class Chats(Protocol):
    """Where turns of conversations are kept. Every method blocks, and raises StoreError."""

    def add(self, kind: str, turn: Turn) -> None: ...

    def measure(self, kind: str, id: str) -> int: ...

    def read_chain(self, kind: str, id: str) -> list[Turn]: ...


class House(Protocol):
    """Everything that the routes answer from."""

    @property
    def pool(self) -> Pool: ...

    @property
    def declared(self) -> Models: ...

    @property
    def conversations(self) -> Chats: ...

    @property
    def workshop(self) -> Workshop: ...
