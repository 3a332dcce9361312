"""`lmrun load` and `lmrun unload`: what is asked for, and what is said of it."""

from __future__ import annotations

import json

import pytest

from lmrun.reconcile.status import ByHandReport
from tests.cli.conftest import Run
from tests.support.control import FakeServer

LOAD, UNLOAD = "/lmrun/v1/load", "/lmrun/v1/unload"


def test_settings_go_to_the_server_as_text(lmrun: Run, server: FakeServer) -> None:
    server.answers[LOAD] = ByHandReport("m:2", 1.25, "report")
    done = lmrun("load", "m", "--set", "load.seed=1", "--set", "load.gpu.ratio=off", "--as", "m:2")
    assert (done.code, done.out) == (0, "Loaded m:2 in 1.2 s.\n")
    assert "It stays so until a profile is applied" in done.err
    settings = {"load.seed": "1", "load.gpu.ratio": "off"}
    assert server.bodies(LOAD) == [{"model": "m", "settings": settings, "identifier": "m:2"}]


def test_what_is_loaded_like_that_already_is_said_to_be(lmrun: Run, server: FakeServer) -> None:
    server.answers[LOAD] = ByHandReport("m", 0.0, "adopt", is_new=False)
    assert lmrun("load", "m").out == "m is loaded like that already.\n"


@pytest.mark.parametrize(
    ("policy", "meaning"),
    [("report", "until a profile is applied"), ("revert", "undone"), ("adopt", "written into")],
)
def test_an_unload_says_what_becomes_of_it(
    lmrun: Run, server: FakeServer, policy: str, meaning: str
) -> None:
    server.answers[UNLOAD] = {"identifier": "m", "seconds": 0.1, "drift_policy": policy}
    done = lmrun("unload", "m")
    assert (done.code, done.out) == (0, "Unloaded m.\n")
    assert meaning in done.err
    assert server.bodies(UNLOAD) == [{"identifier": "m"}]


@pytest.mark.parametrize("command", [("load", "m"), ("unload", "m")])
def test_machines_get_json(lmrun: Run, server: FakeServer, command: tuple[str, str]) -> None:
    for path in (LOAD, UNLOAD):
        server.answers[path] = ByHandReport("m", 0.5, "report")
    done = lmrun(*command, "--json")
    assert json.loads(done.out) == {
        "identifier": "m",
        "seconds": 0.5,
        "drift_policy": "report",
        "is_new": True,
    }
    assert done.err == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["load.seed"], "'load.seed' is no PATH=VALUE, like load.context_length=2048"),
        (["=1"], "'=1' is no PATH=VALUE"),
        (["load.seed=1", "load.seed=2"], "load.seed is set twice"),
    ],
)
def test_wrong_usage_exits_with_2(lmrun: Run, settings: list[str], message: str) -> None:
    words = [word for text in settings for word in ("--set", text)]
    done = lmrun("load", "m", *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


@pytest.mark.parametrize("command", [("load", "m"), ("unload", "m")])
def test_without_a_server_there_is_nothing_to_change(lmrun: Run, command: tuple[str, str]) -> None:
    done = lmrun(*command)
    assert done.code == 1
    assert "lmrun is not running." in done.err
