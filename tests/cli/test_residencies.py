"""What `lmrun status` says of why models are in memory, and of who waits."""

from __future__ import annotations

import pytest

from lmrun.cli.commands.residencies import show_seconds
from lmrun.cli.commands.statuses import render_status, render_usage
from lmrun.cli.terminal import _ANSI
from lmrun.reconcile.status import QueuedStatus, ResidencyStatus, ServerMemory, ServerStatus, Status
from tests.support.control import SINCE, condition, instance, model, status


def show(found: Status) -> list[str]:
    return _ANSI.sub("", render_status(found)).splitlines()


@pytest.mark.parametrize(
    ("residency", "line"),
    [
        (ResidencyStatus(), ""),
        (
            ResidencyStatus("jit", 3600.0, 90.0),
            "m: loaded by a request, leaves after 1 h without use, idle for 1.5 m",
        ),
        (
            ResidencyStatus("jit", 45.0),
            "m: loaded by a request, leaves after 45 s without use",
        ),
        (ResidencyStatus("jit", None, 5.0, pinned=True), "m: loaded by a request, pinned"),
        (ResidencyStatus("hand"), "m: loaded by hand"),
    ],
)
def test_why_an_instance_is_there_is_said_unless_the_profile_says_it(
    residency: ResidencyStatus, line: str
) -> None:
    assert render_usage(instance("m", residency=residency)) == line


def test_who_waits_is_counted_by_class_with_the_next_one_s_wait() -> None:
    queue = (
        QueuedStatus(1, "high", 2.25),
        QueuedStatus(2, "normal", 9.0),
        QueuedStatus(3, "normal", 1.0),
    )
    expected = "m: 3 requests in line (1 high, 2 normal), the next for 2.25 s"
    assert render_usage(instance("m", queue=queue)) == expected


def test_a_model_on_demand_is_listed_with_its_waiting_requests_and_not_complained_about() -> None:
    ready = condition("Ready", "False", "OnDemand", "The first request loads it.")
    found = status(
        model("m", state="on_demand", conditions=(condition("Available"), ready), waiting=3)
    )
    assert show(found)[-1].split() == ["-", "m", "on", "demand", "OnDemand", "-", "-", "3", "-"]


def test_memory_is_shown_with_its_limit() -> None:
    memory = ServerMemory(1_500_000_000, 16_000_000_000)
    server = ServerStatus(None, 1, "0.1.0", "/home", SINCE, memory=memory)
    assert "memory      1.5 GB of 16 GB for models" in show(status(server=server))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, "0 s"), (59.0, "59 s"), (90.0, "1.5 m"), (3600.0, "1 h"), (2 * 86_400.0, "2 d")],
)
def test_times_are_shown_in_the_largest_unit_that_fits(seconds: float, shown: str) -> None:
    assert show_seconds(seconds) == shown
