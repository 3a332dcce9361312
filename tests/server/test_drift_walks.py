"""Random loads and unloads by hand: status names just what differs and whose it is, and each policy
does what it says with all of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lmrun.profile.loader import load_profile
from lmrun.store.home import find_user
from tests.support.http import Port
from tests.support.profiles import write_script
from tests.support.server import Server, eventually, free_port, serving

STEPS = 12
PROFILE = """\
version: 1
drift: {policy}   # what we want
server: {{port: {port}, jit: {{enabled: false}}}}
models:
  a:   # always there
    source: file:./m.scripted.json
    load: {{context_length: 1024}}  # enough
  b: {{source: file:./m.scripted.json, state: absent}}  # now and then
"""


class Walker:
    """Changes instances at random, and knows what has to be true afterwards.

    `lengths`: the context of what is loaded. `owners`: who changed a model last.
    """

    def __init__(self, server: Server, profile: Path, seed: int) -> None:
        self._server = server
        self._profile = profile
        self._random = random.Random(seed)
        self.lengths: dict[str, int] = {}
        self.owners: dict[str, str] = {}
        self.reset()

    def reset(self) -> None:
        """As the profile has it."""
        models = load_profile(self._profile, {}).profile.models
        declared = {name: it for name, it in models.items() if it.state == "loaded"}
        self.lengths = {name: it.load.context_length or 4096 for name, it in declared.items()}
        self.owners.clear()

    def step(self) -> str:
        """Change something; the model that was changed."""
        name = self._random.choice("ab")
        if name in self.lengths and self._random.random() < 0.4:
            by_api = self._random.random() < 0.5
            self._unload_by_api(name) if by_api else self._server.control.unload(name)
            del self.lengths[name]
            self.owners[name] = "api" if by_api else f"cli:{find_user()}"
            return name
        length = self._random.choice([256, 512, 1024])
        report = self._server.control.load(name, {"load.context_length": str(length)}, None)
        if report.is_new:
            self.owners[name] = f"cli:{find_user()}"
        self.lengths[name] = length
        return name

    def _unload_by_api(self, name: str) -> None:
        port = Port(int(self._server.address.rpartition(":")[2]))
        reply = port.ask("POST", "/api/v1/models/unload", {"instance_id": name})
        assert reply.status == 200, reply.json

    def expected(self) -> set[tuple[str, str, str | None, str]]:
        """Field, owner, desired and observed of all that differs from the profile."""
        models = load_profile(self._profile, {}).profile.models
        found: set[tuple[str, str, str | None, str]] = set()
        for name, model in models.items():
            state = "loaded" if name in self.lengths else "absent"
            owner = self.owners.get(name, "")
            if model.state != state:
                found.add((f"models.{name}.state", owner, model.state, state))
            wanted, length = model.load.context_length, self.lengths.get(name)
            if length not in (None, wanted):
                field = f"models.{name}.load.context_length"
                found.add((field, owner, str(wanted) if wanted else None, str(length)))
        return found

    def reported(self) -> set[tuple[str, str, str | None, str | None]]:
        return {(it.field, it.owner, it.desired, it.observed) for it in self._server.status.drift}

    def running(self) -> dict[str, int | None]:
        instances = (it for model in self._server.status.models for it in model.instances)
        return {it.identifier: it.context_length for it in instances if it.state == "ready"}

    def is_converged(self) -> bool:
        return self._server.condition("Converged") == "True/Converged: "


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_script(tmp_path / "m.scripted.json")
    return tmp_path


def write(folder: Path, policy: str) -> Path:
    profile = folder / "p.yaml"
    profile.write_text(PROFILE.format(policy=policy, port=free_port()))
    return profile


@pytest.mark.parametrize("seed", [1, 2])
def test_reported_drift_is_just_what_differs(folder: Path, seed: int) -> None:
    profile = write(folder, "report")
    with serving(folder, profile) as server:
        walker = Walker(server, profile, seed)
        for _ in range(STEPS):
            walker.step()
            eventually(lambda: walker.reported() == walker.expected())
            assert walker.running() == walker.lengths
        assert server.apply(profile).converged
        walker.reset()
        assert walker.reported() == set()
        assert walker.running() == walker.lengths


def test_what_is_reverted_leaves_nothing_behind(folder: Path) -> None:
    profile = write(folder, "revert")
    with serving(folder, profile) as server:
        walker = Walker(server, profile, seed=3)
        for _ in range(STEPS):
            walker.step()
            walker.reset()
            eventually(lambda: walker.running() == walker.lengths)
            eventually(lambda: not server.status.drift and walker.is_converged())
        assert server.status.profile is not None
        assert server.status.profile.generation == 1


def test_what_is_adopted_is_what_the_profile_says_then(folder: Path) -> None:
    profile = write(folder, "adopt")
    with serving(folder, profile) as server:
        walker = Walker(server, profile, seed=4)
        for _ in range(STEPS):
            walker.step()
            eventually(lambda: not walker.expected() and not server.status.drift)
            eventually(walker.is_converged)
            assert walker.running() == walker.lengths
        text = profile.read_text()
        comments = ("# what we want", "# always there", "# enough", "# now and then")
        assert [text.count(comment) for comment in comments] == [1, 1, 1, 1]
        pids = server.worker_pids()
        assert server.apply(profile).converged
        assert server.worker_pids() == pids
