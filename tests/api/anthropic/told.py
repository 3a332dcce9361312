"""A pool whose model says the events that it is told to, for what no small model says."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec

from lmrun.chat.events import ChatEnd, Event, PromptProgress, StopReason, Usage
from lmrun.chat.request import Prompt
from lmrun.settings.prediction import PredictionConfig
from tests.support.stand_in_pool import INFO, StandInLease, StandInPool, make_instance


class ToldLease(StandInLease):
    """Generates what its pool was told."""

    def __init__(self, pool: ToldPool) -> None:
        super().__init__(pool, pool.instances["assistant"])
        self._told = pool

    async def generate(
        self, prompt: Prompt, prediction: PredictionConfig
    ) -> AsyncGenerator[Event, None]:
        self._told.prompts.append(prompt)
        for event in self._told.events:
            yield event


class ToldPool(StandInPool):
    """One model, `assistant`. `events`: what it says."""

    def __init__(self, *, chat_template: str | None = None) -> None:
        super().__init__()
        info = msgspec.structs.replace(INFO, chat_template=chat_template)
        self.instances = {"assistant": replace(make_instance(), info=info)}
        self.events: tuple[Event, ...] = ()

    def say(self, *events: Event, reason: StopReason = "eosFound", stop: str | None = None) -> None:
        """From now on: a prompt of 9 tokens, 4 of them cached, `events`, and this end."""
        progress = (PromptProgress(5, 9), PromptProgress(9, 9))
        self.events = (*progress, *events, ChatEnd(reason, Usage(9, 3, 4), stop))

    @asynccontextmanager
    async def acquire(self, name: str, *, ttl_s: float | None = None) -> AsyncIterator[ToldLease]:
        async with super().acquire(name):
            yield ToldLease(self)
