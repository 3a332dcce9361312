"""Files appear completely or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lmrun.errors import StoreError
from lmrun.store.atomic import MODEL_MODE, atomic_file, write_atomic

DIES_BEFORE_THE_RENAME = """
import os, signal, sys
from pathlib import Path
from lmrun.store.atomic import atomic_file
with atomic_file(Path(sys.argv[1])) as file:
    file.write(b"new" * 100_000)
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
FILLS_THE_DISK = """
import resource, signal, sys
from pathlib import Path
from lmrun.errors import StoreError
from lmrun.store.atomic import write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomic(Path(sys.argv[1]), b"x" * 5000)
except StoreError as error:
    print(error)
"""


def test_a_file_is_replaced_whole_with_the_mode_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomic(target, b"old")
    write_atomic(target, b"new", mode=MODEL_MODE)
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o444
    assert list(tmp_path.iterdir()) == [target]


def test_a_kill_before_the_rename_leaves_the_old_content(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    finished = subprocess.run([sys.executable, "-c", DIES_BEFORE_THE_RENAME, str(target)])
    assert finished.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old"


def test_an_exception_leaves_the_old_content_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_file(target) as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert [(path, path.read_bytes()) for path in tmp_path.iterdir()] == [(target, b"old")]


def test_a_write_that_the_system_refuses_is_a_store_error_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", FILLS_THE_DISK, str(tmp_path / "file")]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"cannot write {tmp_path}/file: File too large." in finished.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"cannot write {tmp_path}/missing/file"):
        write_atomic(tmp_path / "missing" / "file", b"")
