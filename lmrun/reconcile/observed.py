"""What is: instances and the listener, as values that a plan can be made from."""

from __future__ import annotations

from dataclasses import dataclass

from lmrun.profile.schema import ServerConfig
from lmrun.reconcile.status import InstanceState
from lmrun.runtime.spec import InstanceSpec


@dataclass(frozen=True, slots=True)
class ObservedInstance:
    """`in_flight`: generations that it runs or has queued now."""

    spec: InstanceSpec
    state: InstanceState
    in_flight: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """`server` is the config that the open listener serves by, None when nothing listens."""

    server: ServerConfig | None = None
    instances: tuple[ObservedInstance, ...] = ()
