"""A server of a command's own, on a home that goes away with it. It knows no command.

It shares the model files with the real home, and nothing else: its port is a free one of
127.0.0.1, and models that the command has no use for are not loaded.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from lmrun.cli.background import STOP_TIMEOUT_S, start_server
from lmrun.cli.client import Control
from lmrun.errors import LmrunError
from lmrun.reconcile.outcome import ActionEnded, ApplyEnded
from lmrun.store.home import Home
from lmrun.store.locks import FileLock

_POLL_S = 0.02
TERMINATED = 128 + signal.SIGTERM


@contextmanager
def temporary_server(
    file: Path,
    unused_models: Collection[str],
    values: Mapping[str, str],
    *,
    home: Home,
    environment: Mapping[str, str],
) -> Iterator[Control]:
    """A server that has the profile `file` applied, but for `unused_models`; gone afterwards.

    `values`: of the variables that the profile refers to. Raises LmrunError when the server does
    not start, ProfileInvalid, and LmrunError naming the first model that cannot be loaded.
    """
    home.ensure()
    # A short path: the control socket lies below it.
    folder = Path(tempfile.mkdtemp(prefix="lmrun-check-", dir="/tmp"))
    own = _make_home(folder, home)
    try:
        with _ending_on_sigterm():
            with _deferring_signals():
                control = start_server(own, environment)
            _apply(control, _write_profile(folder, file, unused_models), values)
            yield control
    finally:
        pid = FileLock(own.lock_file).holder()
        if pid is not None:
            _stop(Control(own.control_socket), pid)
        shutil.rmtree(folder, ignore_errors=True)


def make_overlay(file: Path, unused_models: Collection[str]) -> dict[str, Any]:
    """The profile over `file` that the server applies."""
    return {
        "version": 1,
        "include": [str(file)],
        "server": {"host": "127.0.0.1", "port": 0},
        "models": {key: {"state": "absent"} for key in unused_models},
    }


def _make_home(folder: Path, home: Home) -> Home:
    own = Home(folder / "home")
    own.root.mkdir(mode=0o700)
    own.models.symlink_to(home.models)
    return own


def _write_profile(folder: Path, file: Path, unused_models: Collection[str]) -> Path:
    overlay = folder / "profile.yaml"
    # JSON is YAML, too.
    overlay.write_text(json.dumps(make_overlay(file, unused_models)), encoding="utf-8")
    return overlay


def _apply(control: Control, overlay: Path, values: Mapping[str, str]) -> None:
    with closing(control.apply(overlay, values, watch=False)) as events:
        for event in events:
            if isinstance(event, ActionEnded) and event.outcome.error is not None:
                outcome = event.outcome
                raise LmrunError(f"{outcome.target}: {outcome.error}", hint=outcome.hint)
            if isinstance(event, ApplyEnded):
                return


def _stop(control: Control, pid: int) -> None:
    """Whatever state it is in, the server is gone afterwards."""
    with suppress(LmrunError):
        control.down()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while not _is_gone(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)


def _is_gone(pid: int) -> bool:
    """Whether our child has ended; that it did is taken note of."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


@contextmanager
def _deferring_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM take effect afterwards: a server half started could not be found."""
    noted: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda caught, _: noted.append(caught)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    if noted:
        signal.raise_signal(noted[0])


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """SIGTERM unwinds the stack, as Ctrl-C does, so that what was started is stopped."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
