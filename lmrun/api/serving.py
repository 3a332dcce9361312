"""What the API needs of the runtime: instances to list, leases to generate with.

It knows nothing of how an instance comes to be, or of what happens while a lease is waited for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from lmrun.chat.events import Event
from lmrun.chat.request import Prompt
from lmrun.engines.base import ModelInfo
from lmrun.reconcile.status import InstanceState
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.prediction import PredictionConfig


class Instance(Protocol):
    """One instance as it is now. `info` is there once it has been loaded."""

    @property
    def spec(self) -> InstanceSpec: ...

    @property
    def state(self) -> InstanceState: ...

    @property
    def info(self) -> ModelInfo | None: ...


class Lease(Protocol):
    """The right to use one instance; it stays loaded meanwhile."""

    @property
    def instance(self) -> Instance: ...

    def generate(self, prompt: Prompt, prediction: PredictionConfig) -> AsyncGenerator[Event, None]:
        """Run one generation. `prediction`: only what the request chose; the rest is the
        instance's. Closing the generator is the only way to cancel. Raises RequestError before
        the first event, EngineError at any time.
        """
        ...


class Pool(Protocol):
    """All instances."""

    @property
    def instances(self) -> Mapping[str, Instance]:
        """By identifier."""

    def acquire(self, name: str) -> AbstractAsyncContextManager[Lease]:
        """A lease on the instance called `name`; entering may wait.

        Raises ModelNotFound, ModelNotReady, QueueFull.
        """
        ...
