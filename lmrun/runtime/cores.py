"""The core budget: how many CPU threads each worker may use now.

Two workers that both use every core were measured far slower than one after the other, with
stalls of seconds. It knows no worker process; what it grants somebody else passes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Demand:
    """What one worker does. `most`: its own limit of threads, None for no limit."""

    activity: Literal["idle", "loading", "streaming"]
    most: int | None = None


def grant(budget: int, workers: Mapping[str, Demand]) -> dict[str, int]:
    """Threads for each worker; an idle one gets 0, a working one at least 1.

    A loading worker gets 1, since it mostly waits for the disk. The streaming ones share the
    rest evenly, each up to its limit. More working ones than cores means more threads than
    cores: nobody starves.
    """
    threads = {name: 0 if worker.activity == "idle" else 1 for name, worker in workers.items()}
    left = budget - sum(threads.values())
    takers = [name for name, worker in workers.items() if worker.activity == "streaming"]
    while left > 0 and takers:
        takers = [name for name in takers if _has_room(workers[name], threads[name])]
        for name in takers[:left]:
            threads[name] += 1
        left -= len(takers)
    return threads


def _has_room(worker: Demand, threads: int) -> bool:
    return worker.most is None or threads < worker.most


def read_budget() -> int:
    """CPU cores this process may use: its affinity within its cgroups' quota, at least 1."""
    quotas = [quota for folder in _cgroup_folders() if (quota := _read_quota(folder)) is not None]
    return max(1, int(min([_read_affinity(), *quotas])))


def _read_affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cgroup_folders() -> Iterable[Path]:
    """The folders of this process's cgroup and of those above it, in both versions of cgroups."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup") / controllers
        folder = root / path.lstrip("/")
        yield folder
        yield from (parent for parent in folder.parents if parent.is_relative_to(root))


def _read_quota(folder: Path) -> float | None:
    """Cores that a cgroup may use at once; None when it sets no limit."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
    except OSError:
        return None
    return parse_quota(quota, period)


def parse_quota(quota: str, period: str) -> float | None:
    """Cores of a cgroup's quota per period, both in microseconds; `max` and -1 are no limit."""
    if quota == "max" or int(quota) < 0:
        return None
    return int(quota) / int(period)
