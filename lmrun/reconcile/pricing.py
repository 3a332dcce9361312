"""What things cost by what they have cost before, and how much memory there is to pay with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from lmrun.catalog.memory import Estimate
from lmrun.errors import StoreError
from lmrun.reconcile.desired import Desired, DesiredModel
from lmrun.reconcile.estimates import key_of, make_claim
from lmrun.reconcile.evictions import Room
from lmrun.runtime.spec import InstanceSpec
from lmrun.store.measurements import NOTHING_MEASURED, Measurement, Measurements

log = logging.getLogger("lmrun.reconcile")


class Prices:
    """`room`: the memory there is now. Without measurements a plan has no times, and estimates for
    memory: nothing here fails."""

    def __init__(self, measurements: Measurements, room: Callable[[], Room] = Room) -> None:
        self._measurements = measurements
        self.room = room

    async def note_load(self, spec: InstanceSpec, seconds: float) -> None:
        """A worker took so long from its start until it was ready."""
        try:
            await asyncio.to_thread(self._measurements.note_load, key_of(spec), seconds)
        except StoreError as error:
            log.warning("the time of a load was not kept: %s", error)

    def price(self, desired: Desired) -> Desired:
        """`desired` with what was measured of such loads. It blocks."""
        return replace(desired, models=tuple(self._price_model(it) for it in desired.models))

    def memory_bytes(self, spec: InstanceSpec, estimate: Estimate) -> int:
        """The most that an instance takes, its prefix cache full: measured, else estimated. It
        blocks."""
        return _most(self._find(spec), estimate)

    def _price_model(self, model: DesiredModel) -> DesiredModel:
        if model.spec is None or model.estimate is None:
            return model
        measured = self._find(model.spec)
        return replace(
            model,
            load_s=measured.load_s,
            memory_bytes=_most(measured, model.estimate),
            claim=make_claim(model.spec, model.estimate, measured.memory_bytes),
        )

    def _find(self, spec: InstanceSpec) -> Measurement:
        try:
            return self._measurements.find(key_of(spec))
        except StoreError as error:
            log.warning("the plan has no measured prices: %s", error)
            return NOTHING_MEASURED


def _most(measured: Measurement, estimate: Estimate) -> int:
    if measured.memory_bytes is None:
        return estimate.total
    return measured.memory_bytes + estimate.prefix_cache
