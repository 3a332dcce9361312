"""What the tools room needs of models: to ask one. Handed in by the composition root."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from lmrun.chat.events import Event
from lmrun.chat.request import Request
from lmrun.settings.prediction import PredictionConfig


class Generate(Protocol):
    """A model that is held ready."""

    def __call__(
        self, request: Request, prediction: PredictionConfig, /
    ) -> AsyncGenerator[Event, None]:
        """The events of one generation; the last one is its ChatEnd. What `prediction` leaves open
        is the model's default. Closing the generator is the only way to cancel it. Raises
        RequestError before the first event, EngineError at any time."""
        ...


class Models(Protocol):
    """All models."""

    def open(self, model: str) -> AbstractAsyncContextManager[Generate]:
        """Hold the model called `model`, a key or an identifier, until the block is left; entering
        may wait, and load it. Raises ModelNotFound, ModelNotReady, QueueFull, and what a load
        raises."""
        ...
