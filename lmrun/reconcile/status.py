"""The shape of `status`: what is, for people and machines. It fetches nothing itself."""

from __future__ import annotations

from typing import Literal

import msgspec

from lmrun.engines.base import EngineUsage
from lmrun.runtime.residency.residency import Origin
from lmrun.runtime.turns import Priority

ConditionStatus = Literal["True", "False", "Unknown"]
InstanceState = Literal["stopped", "loading", "ready", "unloading", "failed"]


class Condition(msgspec.Struct, frozen=True):
    """One observed truth. `reason` is a CamelCase code, `since` an ISO 8601 time in UTC."""

    type: str
    status: ConditionStatus
    reason: str
    message: str
    since: str


class MemoryStatus(msgspec.Struct, frozen=True):
    """Bytes of RAM that an instance takes. `estimated_bytes`: before it was loaded, without the
    prefix cache. Measured in its worker now: `measured_anonymous_bytes` are its own,
    `measured_mapped_bytes` pages of files. None where it cannot be known.

    `error`: measured, less the prefix cache, over estimated, less 1; it settles with the first
    request, which touches all pages.
    """

    estimated_bytes: int | None = None
    measured_anonymous_bytes: int | None = None
    measured_mapped_bytes: int | None = None
    error: float | None = None


class ResidencyStatus(msgspec.Struct, frozen=True):
    """Why an instance is in memory: the profile keeps it there (`declared`), a request (`jit`) or a
    client (`hand`) has loaded it. `ttl_s`: how long it may be idle, None for no limit; `idle_s`:
    how long it has been, None while somebody uses it. `pinned`: it is not evicted."""

    origin: Origin = "declared"
    ttl_s: float | None = None
    idle_s: float | None = None
    pinned: bool = False


class QueuedStatus(msgspec.Struct, frozen=True):
    """A generation that waits for its turn. `position`: 1 is the next one."""

    position: int
    priority: Priority
    waited_s: float


class RolloutStatus(msgspec.Struct, frozen=True):
    """The other version of an instance that is being replaced. `arriving`: it will take the place
    of this one, and is loaded (`progress`: 0.0 to 1.0) or tried out; `retiring`: this one has taken
    its place, and `in_flight` requests that it began go on."""

    phase: Literal["arriving", "retiring"]
    pid: int | None
    progress: float | None = None
    in_flight: int = 0


class InstanceStatus(msgspec.Struct, frozen=True):
    """A loaded (or loading, or failed) instance. `progress`: 0.0 to 1.0 while loading. `usage`:
    what its engine held at most a second ago, None until it has said so. `active`, `waiting`:
    generations that are computed and that are not; of these, `queue` are not in the engine yet.
    `rollout`: its other version, while it is being replaced."""

    identifier: str
    state: InstanceState
    engine: str
    pid: int | None
    threads: int
    context_length: int | None
    active: int
    waiting: int
    restarts: int
    progress: float | None
    error: str | None
    memory: MemoryStatus = MemoryStatus()
    usage: EngineUsage | None = None
    residency: ResidencyStatus = ResidencyStatus()
    queue: tuple[QueuedStatus, ...] = ()
    rollout: RolloutStatus | None = None


class ModelStatus(msgspec.Struct, frozen=True):
    """A declared model, its conditions (`Available`, `UpToDate`, `Ready`) and its instances.
    `waiting`: requests that wait until one is loaded."""

    key: str
    source: str
    state: Literal["loaded", "on_demand", "absent"]
    conditions: tuple[Condition, ...]
    instances: tuple[InstanceStatus, ...]
    waiting: int = 0


class ProfileStatus(msgspec.Struct, frozen=True):
    """`generation`: the newest accepted. `observed_generation`: the newest that has converged.
    `drift_policy`: what becomes of what clients change by hand."""

    files: tuple[str, ...]
    generation: int
    observed_generation: int
    watching: bool
    drift_policy: Literal["revert", "adopt", "report"] = "report"


class DriftStatus(msgspec.Struct, frozen=True):
    """A field of the profile that `instance` does not follow, since `owner` changed it by hand.

    `owner`: `cli:<user>`, `api:<name of the API key>`, or `api` where none is asked for. `desired`,
    `observed`: as YAML, None for unset. `since`: ISO 8601 in UTC. `obstacle`: why it is not written
    into the profile, which `drift: adopt` would have; None with another policy.
    """

    field: str
    instance: str
    owner: str
    since: str
    desired: str | None
    observed: str | None
    obstacle: str | None = None


class ServerMemory(msgspec.Struct, frozen=True):
    """Bytes. `claimed_bytes`: what all instances take or may yet take, by measure where there is
    one; `limit_bytes`: what they may."""

    claimed_bytes: int
    limit_bytes: int | None


class ByHandReport(msgspec.Struct, frozen=True):
    """What was loaded or unloaded by hand: the instance, how long it took, what becomes of it.
    `is_new`: false where it was as it was asked for already."""

    identifier: str
    seconds: float
    drift_policy: Literal["revert", "adopt", "report"]
    is_new: bool = True


class ServerStatus(msgspec.Struct, frozen=True):
    """`address`: the HTTP port's base URL, None while nothing listens. `log`: the file that the
    server's log goes to, None where its standard error is no such file."""

    address: str | None
    pid: int
    version: str
    home: str
    started: str
    log: str | None = None
    memory: ServerMemory | None = None


class GitStatus(msgspec.Struct, frozen=True):
    """The repository that is followed. `commit`: what was applied last; `good`: the last that
    converged and passed the profile's checks; `head`: what `ref` meant when it was fetched last, at
    `fetched` (ISO 8601 in UTC). `is_behind`: `head` is not what runs; the condition `GitSynced`
    says why."""

    url: str
    ref: str
    path: str
    commit: str | None = None
    good: str | None = None
    head: str | None = None
    fetched: str | None = None
    is_behind: bool = True


class AgentStatus(msgspec.Struct, frozen=True):
    """A model that uses tools by itself. `tools`: which, as the profile names them; `description`:
    what it says of the agent, for people."""

    name: str
    model: str
    tools: tuple[str, ...]
    description: str | None = None


class ToolTrouble(msgspec.Struct, frozen=True):
    """Why something that the profile declares cannot be used, or not all of it. `subject`: its path
    in the profile. `reason`: a CamelCase code. `message`: one line, which says what to do."""

    subject: str
    reason: str
    message: str


class ToolsStatus(msgspec.Struct, frozen=True):
    """What models can do. `declared`: tools of the profile's own, of which `missing` are not there;
    `servers`: how many MCP servers there are beside them."""

    agents: tuple[AgentStatus, ...]
    declared: int
    missing: int
    servers: int
    troubles: tuple[ToolTrouble, ...]


class Status(msgspec.Struct, frozen=True):
    """Everything. Conditions here: `ProfileValid`, `Listening`, `Converged`, `GitSynced` where a
    repository is followed, and `Tools` where the profile declares any."""

    server: ServerStatus
    profile: ProfileStatus | None
    conditions: tuple[Condition, ...]
    models: tuple[ModelStatus, ...]
    drift: tuple[DriftStatus, ...] = ()
    git: GitStatus | None = None
    tools: ToolsStatus | None = None
