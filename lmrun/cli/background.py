"""The background server's life as a process: is it there, start it, wait for its end.

It knows nothing of what the server does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from lmrun.cli.client import Control
from lmrun.errors import LmrunError, ServerUnreachable
from lmrun.store.failures import FULL_HINT
from lmrun.store.home import Home
from lmrun.store.locks import FileLock

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
TAIL_BYTES = 2000
_POLL_S = 0.02


def start_server(home: Home, environment: Mapping[str, str]) -> Control:
    """Start a server in the background and wait until it answers, or until another one does.

    Raises ServerUnreachable with the end of the log when neither happens.
    """
    home.ensure()
    log = home.server_log
    log_start = log.stat().st_size if log.exists() else 0
    process = _spawn(home, environment)
    control = Control(home.control_socket)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if control.is_listening():
            # It outlives us on purpose: nothing here waits for it any more.
            process.returncode = process.returncode or 0
            return control
        # Two at once: one server wins the lock, the other exits, and both callers use the winner.
        if process.poll() is not None and not _somebody_holds(home):
            break
        time.sleep(_POLL_S)
    tail = read_tail(log, log_start)
    raise ServerUnreachable(_explain(process.poll(), tail), hint=_advise(log, tail))


def wait_until_stopped(home: Home, pid: int) -> None:
    """Return when the server `pid` has let go of everything. Raises LmrunError when it does not."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _is_alive(pid) and FileLock(home.lock_file).holder() == pid:
        if time.monotonic() > deadline:
            raise LmrunError(
                f"The server (pid {pid}) has unloaded everything but does not exit.",
                hint=f"`kill {pid}` ends it.",
            )
        time.sleep(_POLL_S)


def _spawn(home: Home, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Detached: no terminal, its own session, nothing inherited but the environment."""
    with open(home.server_log, "ab", opener=_open_private) as log:
        return subprocess.Popen(
            # -P: the working directory is no place to import from.
            [sys.executable, "-P", "-m", "lmrun", "serve", "--background"],
            cwd="/",
            env={**environment, "LMRUN_HOME": str(home.root)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def find_server(home: Home) -> int | None:
    """The pid of the server that has this home; None when none runs."""
    holder = FileLock(home.lock_file).holder()
    return holder if holder is not None and _is_alive(holder) else None


def _somebody_holds(home: Home) -> bool:
    return find_server(home) is not None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's process: alive
    return True


def _explain(returncode: int | None, tail: str) -> str:
    how = (
        f"did not answer within {START_TIMEOUT_S:.0f} s"
        if returncode is None
        else f"ended at once (exit code {returncode})"
    )
    return f"The background server {how}." + (f" Its last words:\n{tail}" if tail else "")


def _advise(log: Path, tail: str) -> str:
    # On a full disk a server cannot even write down why it ends.
    if not tail and not shutil.disk_usage(log.parent).free:
        return f"{FULL_HINT} It is the one of {log.parent}."
    return f"The log: {log}"


def read_tail(log: Path, start: int) -> str:
    """The end of what was written to `log` since `start`, in whole lines."""
    with open(log, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - TAIL_BYTES))
        text = file.read().decode(errors="replace").strip()
    return text if size - start <= TAIL_BYTES else text.partition("\n")[2]
