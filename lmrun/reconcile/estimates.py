"""What a load will take of the memory: by what it was seen to take, else by its files.

It counts nothing that is loaded now.
"""

from __future__ import annotations

import asyncio
import logging

from lmrun.catalog.memory import Estimate
from lmrun.errors import StoreError
from lmrun.reconcile.desired import ModelFinder, estimate_memory
from lmrun.runtime.residency.claims import Claim, claim_estimated, claim_measured
from lmrun.runtime.spec import InstanceSpec
from lmrun.store.measurements import LoadKey, Measurements, make_key

log = logging.getLogger("lmrun.memory")


class Estimates:
    """`finder` looks into files, `measurements` keeps what was seen."""

    def __init__(self, finder: ModelFinder, measurements: Measurements) -> None:
        self._finder = finder
        self._measurements = measurements

    async def claim(self, spec: InstanceSpec) -> Claim:
        """The most that an instance will take. Raises ModelInvalid for a bad file."""
        return await asyncio.to_thread(self._claim, spec)

    def note_memory(self, spec: InstanceSpec, memory_bytes: int) -> None:
        """An instance was seen to hold so much without its prefix cache. Raises StoreError."""
        self._measurements.note_memory(key_of(spec), memory_bytes)

    def _claim(self, spec: InstanceSpec) -> Claim:
        return make_claim(spec, estimate_memory(self._finder, spec), self._find(key_of(spec)))

    def _find(self, key: LoadKey) -> int | None:
        try:
            return self._measurements.find(key).memory_bytes
        except StoreError as error:
            log.warning("memory is estimated without measurements: %s", error)
            return None


def make_claim(spec: InstanceSpec, estimate: Estimate, measured: int | None) -> Claim:
    """The most that an instance takes; `measured`: bytes without its prefix cache, if known."""
    is_mapped = spec.load.try_mmap
    if measured is None:
        return claim_estimated(estimate, spec.path, is_mapped=is_mapped)
    return claim_measured(estimate, spec.path, measured, is_mapped=is_mapped)


def key_of(spec: InstanceSpec) -> LoadKey:
    """The same files, loaded with the same settings."""
    return make_key(spec.identity, spec.load.model_dump(mode="json"))
