"""The server keeps at it: failed actions are tried again, wishes that have gone are dropped."""

from __future__ import annotations

import threading
from pathlib import Path

from lmrun.reconcile.outcome import ApplyEnded
from tests.support.profiles import ask, write_profile, write_script
from tests.support.server import Server, eventually, is_alive, serving

GOOD = {"source": "file:./a.scripted.json"}
SLOW = {"source": "file:./slow.scripted.json"}


def test_a_missing_file_that_appears_is_loaded_without_another_apply(tmp_path: Path) -> None:
    profile = write_profile(tmp_path / "p.yaml", {"a": GOOD})
    with Server(tmp_path) as server:
        assert not server.apply(profile).converged
        assert server.condition("Converged") == "False/ActionFailed: Failed: a."
        write_script(tmp_path / "a.scripted.json")
        server.ready("a")
        eventually(lambda: server.condition("Converged").startswith("True"))
        assert ask(server.address, "Hi") == "Hello world"


def test_applying_again_tries_a_failed_model_at_once(tmp_path: Path) -> None:
    profile = write_profile(tmp_path / "p.yaml", {"a": GOOD})
    with Server(tmp_path) as server:
        for _ in range(4):
            server.apply(profile)
        write_script(tmp_path / "a.scripted.json")
        assert server.apply(profile).converged


def test_a_load_that_nobody_wants_any_more_is_stopped(tmp_path: Path) -> None:
    write_script(tmp_path / "a.scripted.json")
    write_script(tmp_path / "slow.scripted.json", load={"seconds": 60})
    first = write_profile(tmp_path / "p.yaml", {"a": GOOD}, port=0)
    with serving(tmp_path, first) as server:
        both = write_profile(tmp_path / "both.yaml", {"a": GOOD, "slow": SLOW}, port=0)
        ended: list[ApplyEnded] = []
        applying = threading.Thread(target=lambda: ended.append(server.apply(both)))
        applying.start()
        pid = eventually(lambda: loading_pid(server))
        assert server.apply(first).converged
        assert not is_alive(pid)
        assert server.instance("slow") is None
        applying.join(10)
        assert [it.generation for it in ended] == [3]
        assert ask(server.address, "Hi") == "Hello world"


def loading_pid(server: Server) -> int | None:
    """The worker that loads `slow`, found among the server's children."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    known = {instance.pid for it in server.status.models for instance in it.instances}
    strangers = [int(pid) for pid in children.split() if int(pid) not in known]
    return strangers[0] if strangers and server.instance("slow") else None


def test_two_applies_at_once_end_with_one_of_them_whole(tmp_path: Path) -> None:
    write_script(tmp_path / "a.scripted.json")
    first = write_profile(tmp_path / "one.yaml", {"one": GOOD}, port=0)
    second = write_profile(tmp_path / "two.yaml", {"two": GOOD}, port=0)
    with Server(tmp_path) as server:
        threads = [threading.Thread(target=server.apply, args=(it,)) for it in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        eventually(lambda: server.condition("Converged").startswith("True"))
        loaded = [instance.identifier for it in server.status.models for instance in it.instances]
        assert loaded in (["one"], ["two"])
        assert len(server.worker_pids()) == 1
