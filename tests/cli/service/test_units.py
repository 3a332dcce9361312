"""What a service manager is given to read."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest

from lmrun.cli.service.units import MARK, Service, make_agent, make_unit, name_service
from lmrun.errors import LmrunError


def service(home: str = "/home/me/.lmrun", executable: str = "/usr/bin/python3") -> Service:
    command = (executable, "-P", "-m", "lmrun", "serve")
    return Service("lmrun", command, Path(home), Path(home) / "logs" / "server.log")


def lines(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and line[0] != "#")


def test_a_unit_waits_until_the_server_is_ready_and_ends_one_that_hangs() -> None:
    found = lines(make_unit(service()))
    assert found["Type"] == "notify"
    assert int(found["WatchdogSec"]) > 0
    assert found["Restart"] == "on-failure"
    assert found["WantedBy"] == "default.target"
    assert found["ExecStart"] == '"/usr/bin/python3" "-P" "-m" "lmrun" "serve"'
    assert found["Environment"] == '"LMRUN_HOME=/home/me/.lmrun"'
    assert found["EnvironmentFile"] == "-/home/me/.lmrun/service.env"


def test_names_with_spaces_quotes_and_specifiers_stay_what_they_are() -> None:
    found = lines(make_unit(service('/h/a b"c\\d%e$f', executable="/opt/100% $HOME/python")))
    assert found["ExecStart"].startswith('"/opt/100%% $$HOME/python" ')
    assert found["Environment"] == '"LMRUN_HOME=/h/a b\\"c\\\\d%%e$f"'
    assert found["EnvironmentFile"] == '-/h/a b"c\\d%%e$f/service.env'


def test_a_name_that_would_begin_another_line_is_refused() -> None:
    with pytest.raises(LmrunError, match="no unit can hold"):
        make_unit(service("/h/x\nExecStartPre=/bin/evil"))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("home", ["/home/me/.lmrun", "/h/a b%c$d"])
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, home: str) -> None:
    executable = shutil.which("true")
    assert executable is not None
    file = tmp_path / "lmrun.service"
    file.write_text(make_unit(service(home, executable)))
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(file)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_an_agent_runs_at_login_and_again_after_a_failure() -> None:
    agent = plistlib.loads(make_agent(service()))
    assert agent["Label"] == "dev.lmrun.lmrun"
    assert agent["ProgramArguments"][-1] == "serve"
    assert agent["EnvironmentVariables"] == {"LMRUN_HOME": "/home/me/.lmrun"}
    assert (agent["RunAtLoad"], agent["KeepAlive"]) == (True, {"SuccessfulExit": False})
    assert MARK in agent["Comment"]


def test_each_home_has_a_service_of_its_own() -> None:
    default = Path("/home/me/.lmrun")
    names = {name_service(Path(home), default) for home in ("/home/me/.lmrun", "/a", "/b")}
    assert "lmrun" in names
    assert len(names) == 3
