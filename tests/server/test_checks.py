"""Checks over the control socket: where they may be asked, and on which models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from lmrun.checks.values import CheckEvent, CheckObserved, ChecksEnded, CheckStarted
from lmrun.errors import LmrunError, ProfileInvalid
from tests.support.profiles import HELLO, SLOW, posting, write_profile, write_script
from tests.support.server import Server, serving


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def profile(home: Path) -> Path:
    crash = {"match": "crash", "pieces": ["x"], "crash": {"after": 1, "signal": 9}}
    write_script(home / "m.scripted.json", SLOW, crash, HELLO)
    models = {
        "a": {"source": "file:./m.scripted.json"},
        "b": {"source": "file:./m.scripted.json", "state": "on_demand"},
    }
    checks = {
        "crash": {"model": "a", "prompt": "crash", "expect": {"contains": "x"}},
        "again": {"model": "a", "prompt": "Hi", "expect": {"contains": "Hello"}},
        "asleep": {"model": "b", "prompt": "Hi", "expect": {"contains": "Hello"}},
    }
    return write_profile(home / "p.yaml", models, checks=checks)


@pytest.fixture(scope="module")
def server(home: Path, profile: Path) -> Iterator[Server]:
    with serving(home, profile) as running:
        yield running


def observe(server: Server, profile: Path, *names: str) -> list[CheckEvent]:
    found = server.control.check(profile, {}, names)
    return [msgspec.json.decode(data, type=CheckEvent) for data in found]


def test_a_model_on_demand_is_loaded_for_its_check(server: Server, profile: Path) -> None:
    started, observed, ended = observe(server, profile, "asleep")
    assert (started, ended) == (CheckStarted("asleep"), ChecksEnded())
    assert isinstance(observed, CheckObserved)
    assert observed.observation.reply is not None
    assert observed.observation.reply.answer.text == "Hello world"
    assert (observed.observation.reply.fingerprint or "").startswith("scripted-")


def test_a_worker_that_dies_is_the_error_of_one_check_and_the_next_one_waits_for_it(
    server: Server, profile: Path
) -> None:
    events = observe(server, profile, "crash", "again")
    crash, again = (it.observation for it in events if isinstance(it, CheckObserved))
    assert crash.error is not None
    assert "SIGKILL" in crash.error
    assert again.reply is not None
    assert again.reply.answer.text == "Hello world"


def test_the_fingerprint_is_the_one_that_clients_see(server: Server, profile: Path) -> None:
    (_, observed, _) = observe(server, profile, "again")
    body = {"model": "a", "messages": [{"role": "user", "content": "Hi"}]}
    with posting(server.address, body) as response:
        answer = json.load(response)
    assert isinstance(observed, CheckObserved)
    assert observed.observation.reply is not None
    assert observed.observation.reply.fingerprint == answer["system_fingerprint"]


def test_what_cannot_be_asked_is_refused_by_name(server: Server, profile: Path) -> None:
    with pytest.raises(LmrunError, match="names: the profile has no check 'zzz'"):
        observe(server, profile, "zzz")
    with pytest.raises(ProfileInvalid, match="no such file"):
        observe(server, profile.with_name("none.yaml"), "again")


def test_the_port_knows_no_checks_for_they_name_a_file(server: Server, profile: Path) -> None:
    body = {"file": str(profile), "names": ["again"]}
    with posting(server.address, body, "/lmrun/v1/check") as response:
        assert response.status == 404
