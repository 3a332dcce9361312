"""`lmrun check` with real servers: one that runs already, or one of its own that leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import junitparser
import pytest

from lmrun.cli import temporary_server as module
from lmrun.cli.background import start_server
from lmrun.cli.temporary_server import make_overlay, temporary_server
from lmrun.errors import LmrunError
from lmrun.store.home import Home
from tests.cli.conftest import COMMAND, Run
from tests.support.profiles import write_profile, write_script
from tests.support.server import Server, eventually, is_alive, serving

PARIS = {"match": "France", "pieces": ["The", " capital", " is", " Paris."]}
SLOW = {"match": "slowly", "pieces": ["tick "], "repeat": 2000, "seconds_per_token": 0.02}
MODELS = {"m": {"source": "file:m.scripted.json", "identifier": "assistant"}}
RUNNING, TEMPORARY = "Asking the running server", "Asking a temporary server"


def asking(prompt: str = "Capital of France?", **expect: Any) -> dict[str, Any]:
    return {"model": "assistant", "prompt": prompt, "expect": expect}


@pytest.fixture
def make_profile(tmp_path: Path) -> Any:
    write_script(tmp_path / "m.scripted.json", PARIS, SLOW)

    def make(**sections: Any) -> Path:
        return write_profile(tmp_path / "p.yaml", sections.pop("models", MODELS), **sections)

    return make


@pytest.fixture
def running(home: Path, make_profile: Any) -> Iterator[Server]:
    """A server that has `p.yaml` applied."""
    checks = {"capital": asking(contains="Paris"), "slow": asking("slowly", contains="x")}
    with serving(home, make_profile(checks=checks)) as server:
        yield server


def test_checks_are_asked_of_a_temporary_server_and_reported(
    make_profile: Any, lmrun_process: Run, tmp_path: Path, home: Path
) -> None:
    profile = make_profile(
        checks={
            "capital": asking(contains="Paris", same_twice=True, same_under_load=3),
            "wrong": asking(equals="The capital is Rome."),
        }
    )
    result = lmrun_process("check", "--profile", profile, "--junit", "report.xml")
    lines = result.out.splitlines()
    assert result.code == 1
    assert TEMPORARY in result.err
    assert lines[0].startswith("✓ capital (assistant, ")
    assert lines[1].startswith("✗ wrong (assistant, ")
    assert lines[2:] == [
        "    equals: the answer is another one",
        "      -The capital is Rome.",
        "      +The capital is Paris.",
        "2 checks: 1 passed, 1 failed.",
    ]
    (suite,) = junitparser.JUnitXml.fromfile(str(tmp_path / "report.xml"))
    assert (suite.name, suite.tests, suite.failures) == ("p.yaml", 2, 1)
    assert not (home / "lmrun.db").exists(), "the real home has applied nothing"


def test_only_the_checks_that_are_named_are_asked(make_profile: Any, lmrun_process: Run) -> None:
    checks = {"a": asking(contains="Paris"), "b": asking(contains="Rome"), "c": asking(regex="^T")}
    result = lmrun_process("check", "c", "a", "-p", make_profile(checks=checks), "--json")
    report = json.loads(result.out)
    assert result.code == 0
    assert report["server"] == "temporary"
    assert [(it["name"], it["status"]) for it in report["checks"]] == [
        ("a", "passed"),
        ("c", "passed"),
    ]
    assert report["checks"][0]["reply"]["answer"]["text"] == "The capital is Paris."


def test_models_that_no_check_asks_are_not_loaded(
    make_profile: Any, lmrun_process: Run, tmp_path: Path
) -> None:
    write_script(tmp_path / "broken.scripted.json", load={"error": "broken"})
    models = {**MODELS, "broken": {"source": "file:broken.scripted.json"}}
    profile = make_profile(models=models, checks={"a": asking(contains="Paris")})
    assert lmrun_process("check", "-p", profile).code == 0


def test_a_model_that_cannot_be_loaded_is_an_error_that_says_why(
    make_profile: Any, lmrun_process: Run, tmp_path: Path
) -> None:
    write_script(tmp_path / "broken.scripted.json", load={"error": "broken"})
    models = {"assistant": {"source": "file:broken.scripted.json"}}
    profile = make_profile(models=models, checks={"a": asking(contains="Paris")})
    result = lmrun_process("check", "-p", profile)
    assert result.code == 1
    assert "assistant: " in result.err
    assert "broken" in result.err


@pytest.fixture
def golden(home: Path, make_profile: Any, tmp_path: Path) -> Iterator[Path]:
    """The golden file of the check that a running server's profile has."""
    with serving(home, make_profile(checks={"g": asking(golden="goldens/g.json")})):
        yield tmp_path / "goldens" / "g.json"


def test_a_golden_answer_is_written_only_when_that_is_asked_for(
    golden: Path, lmrun_process: Run
) -> None:
    missing = lmrun_process("check")
    assert missing.code == 1
    assert missing.out.splitlines()[1:] == [
        "    There is no golden answer yet; `lmrun check --update` writes it.",
        "1 check: 1 without a golden answer for this fingerprint.",
    ]
    assert not golden.exists()

    written = lmrun_process("check", "--update")
    assert (written.code, written.out.splitlines()[1]) == (
        0,
        "    The golden answer was written to goldens/g.json.",
    )
    before = golden.read_bytes()
    again = lmrun_process("check", "--update")
    assert (again.code, golden.read_bytes()) == (0, before)
    assert "written" not in again.out


def test_golden_answers_are_compared_and_kept_apart_by_fingerprint(
    golden: Path, lmrun_process: Run
) -> None:
    lmrun_process("check", "--update")
    written = golden.read_text()
    (fingerprint,) = json.loads(written)["answers"]

    golden.write_text(written.replace("Paris", "Lyon"))
    other = lmrun_process("check")
    assert other.code == 1
    assert "+The capital is Paris." in other.out

    golden.write_text(written.replace(fingerprint, "older-1"))
    stale = lmrun_process("check")
    assert stale.code == 1
    assert stale.out.startswith("? g ")
    assert f"made under older-1; the model's fingerprint is {fingerprint}" in stale.out
    assert lmrun_process("check", "--update").code == 0
    assert set(json.loads(golden.read_bytes())["answers"]) == {"older-1", fingerprint}


def test_the_running_server_is_asked_where_it_has_the_profile_applied(
    running: Server, lmrun_process: Run, make_profile: Any
) -> None:
    worker = running.ready("assistant").pid
    result = lmrun_process("check", "capital")
    assert (result.code, RUNNING in result.err) == (0, True)

    changed = {"m": {**MODELS["m"], "load": {"context_length": 512}}}
    profile = make_profile(models=changed, checks={"capital": asking(contains="Paris")})
    other = lmrun_process("check", "-p", profile)
    assert (other.code, TEMPORARY in other.err) == (0, True)
    assert running.ready("assistant").pid == worker
    assert running.status.profile is not None
    assert running.status.profile.generation == 1


def test_ctrl_c_ends_the_generation_on_the_running_server(
    running: Server, environment: dict[str, str]
) -> None:
    command = [*COMMAND, "check", "slow"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    eventually(lambda: running.ready("assistant").active == 1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    eventually(lambda: running.ready("assistant").active == 0)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("captal", "-p", "p.yaml"), 2, "No check is called captal. Did you mean capital?"),
        (("zzz", "-p", "p.yaml"), 2, "No check is called zzz. There are: capital."),
        (("-p", "none.yaml"), 1, "There is no file none.yaml."),
        ((), 1, "No profile was applied here."),
        (("-p", "bare.yaml"), 1, "bare.yaml has no checks."),
        (("-p", "bad.yaml"), 1, "checks.c.model: no model has this key or identifier"),
    ],
)
def test_what_cannot_be_asked_is_told_before_anything_starts(
    make_profile: Any,
    lmrun: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_profile(checks={"capital": asking(contains="Paris")})
    (tmp_path / "bare.yaml").write_text("version: 1\n")
    bad = {"version": 1, "checks": {"c": asking(contains="x")}}
    (tmp_path / "bad.yaml").write_text(json.dumps(bad))
    result = lmrun("check", *arguments)
    assert result.code == code
    assert message in result.err
    assert "Asking" not in result.err


class TestTemporaryServer:
    def test_it_listens_on_a_free_local_port_and_is_gone_afterwards(
        self, make_profile: Any, home: Path
    ) -> None:
        profile = make_profile(port=1234)
        with temporary_server(
            profile, (), {}, home=Home(home), environment=dict(os.environ)
        ) as control:
            server = control.status().server
            assert server.address is not None
            assert server.address.startswith("http://127.0.0.1:")
            assert not server.address.endswith(":1234")
            assert (Path(server.home) / "models").resolve() == (home / "models").resolve()
        assert not is_alive(server.pid)
        assert not Path(server.home).parent.exists()
        assert (home / "models").is_dir()

    def test_it_is_gone_after_a_failure_too(self, make_profile: Any, home: Path) -> None:
        server = None
        with (
            pytest.raises(LmrunError, match="as told"),
            temporary_server(
                make_profile(), (), {}, home=Home(home), environment=dict(os.environ)
            ) as control,
        ):
            server = control.status().server
            raise LmrunError("as told")
        assert server is not None
        assert not is_alive(server.pid)
        assert not Path(server.home).exists()

    def test_sigterm_takes_it_down_with_the_command(
        self, make_profile: Any, home: Path, environment: dict[str, str]
    ) -> None:
        program = (
            "import os, sys, time\n"
            "from pathlib import Path\n"
            "from lmrun.cli.temporary_server import temporary_server\n"
            "from lmrun.store.home import Home\n"
            "home, file = map(Path, sys.argv[1:])\n"
            "with temporary_server(\n"
            "    file, (), {}, home=Home(home), environment=dict(os.environ)\n"
            ") as control:\n"
            "    print(control.status().server.pid, flush=True)\n"
            "    time.sleep(60)\n"
        )
        command = [sys.executable, "-c", program, str(home), str(make_profile())]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.terminate()
        process.communicate(timeout=20)
        assert process.returncode == 128 + signal.SIGTERM
        assert not is_alive(pid)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_while_it_starts_leaves_none_behind(
        self,
        make_profile: Any,
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
        number: signal.Signals,
    ) -> None:
        started = []

        def start(own: Home, environment: dict[str, str]) -> Any:
            signal.raise_signal(number)
            control = start_server(own, environment)
            started.append(control.status().server)
            return control

        monkeypatch.setattr(module, "start_server", start)
        with (
            pytest.raises((KeyboardInterrupt, SystemExit)),
            temporary_server(make_profile(), (), {}, home=Home(home), environment=dict(os.environ)),
        ):
            pytest.fail("it goes on")
        assert not is_alive(started[0].pid)
        assert not Path(started[0].home).exists()

    def test_the_profile_it_applies_lies_over_the_real_one(self, tmp_path: Path) -> None:
        assert make_overlay(tmp_path / "p.yaml", {"big"}) == {
            "version": 1,
            "include": [str(tmp_path / "p.yaml")],
            "server": {"host": "127.0.0.1", "port": 0},
            "models": {"big": {"state": "absent"}},
        }
