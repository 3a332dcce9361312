"""One server per home: a second one is told who is there, a dead one holds nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lmrun.errors import StoreError
from lmrun.store.locks import FileLock, ServerLock

HOLDER = """
import sys
from pathlib import Path
from lmrun.store.locks import ServerLock
ServerLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_server_learns_the_first_ones_pid_until_that_one_is_killed(tmp_path: Path) -> None:
    lock_file = tmp_path / "server.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock_file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreError, match=rf"pid {holder.pid}.*lmrun down"):
            ServerLock(lock_file).acquire()
        holder.kill()
    with ServerLock(lock_file):
        assert lock_file.read_text().strip().isdigit()


def test_a_released_lock_names_nobody_and_is_free(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    assert lock.try_acquire()
    assert not FileLock(tmp_path / "lock").try_acquire()
    lock.release()
    lock.release()
    assert lock.holder() is None
    with ServerLock(tmp_path / "lock"):
        pass


def test_a_lock_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot lock"):
        FileLock(tmp_path / "missing" / "lock").try_acquire()
