"""The core budget: who may use how many threads."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.runtime.cores import Demand, grant, parse_quota, read_budget

IDLE, LOADING, STREAMING = Demand("idle"), Demand("loading"), Demand("streaming")
DEMANDS = st.builds(
    Demand,
    st.sampled_from(["idle", "loading", "streaming"]),
    st.none() | st.integers(1, 8),
)


@pytest.mark.parametrize(
    ("budget", "workers", "expected"),
    [
        (2, [STREAMING], [2]),
        (2, [STREAMING, IDLE], [2, 0]),
        (2, [STREAMING, STREAMING], [1, 1]),
        (2, [STREAMING, STREAMING, STREAMING], [1, 1, 1]),
        (8, [STREAMING, STREAMING, STREAMING], [3, 3, 2]),
        (8, [Demand("streaming", 2), STREAMING], [2, 6]),
        (8, [Demand("streaming", 2), Demand("streaming", 3)], [2, 3]),
        (4, [LOADING, STREAMING], [1, 3]),
        (1, [LOADING, STREAMING], [1, 1]),
        (4, [IDLE, IDLE], [0, 0]),
        (4, [], []),
    ],
)
def test_streaming_workers_share_the_cores(
    budget: int, workers: list[Demand], expected: list[int]
) -> None:
    named = {str(index): worker for index, worker in enumerate(workers)}
    assert list(grant(budget, named).values()) == expected


@given(st.integers(1, 64), st.lists(DEMANDS, max_size=8))
def test_nobody_starves_and_no_core_is_promised_twice(budget: int, workers: list[Demand]) -> None:
    named = {str(index): worker for index, worker in enumerate(workers)}
    threads = grant(budget, named)
    working = [name for name, worker in named.items() if worker.activity != "idle"]
    assert all(threads[name] >= 1 for name in working)
    assert sum(threads.values()) <= max(budget, len(working))
    for name, worker in named.items():
        assert worker.activity != "idle" or threads[name] == 0
        assert worker.most is None or threads[name] <= worker.most


@pytest.mark.parametrize(
    ("quota", "period", "cores"),
    [("max", "100000", None), ("-1", "100000", None), ("150000", "100000", 1.5)],
)
def test_a_cgroup_quota_is_cores(quota: str, period: str, cores: float | None) -> None:
    assert parse_quota(quota, period) == cores


def test_the_budget_is_at_least_one_and_at_most_the_machine() -> None:
    assert 1 <= read_budget() <= (os.cpu_count() or 1)
