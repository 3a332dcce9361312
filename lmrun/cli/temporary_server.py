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
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from lmrun.cli.background import start_server, wait_until_stopped
from lmrun.cli.client import Control
from lmrun.errors import LmrunError
from lmrun.reconcile.outcome import ActionEnded, ApplyEnded
from lmrun.store.home import Home

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
    try:
        with _ending_on_sigterm():
            own = _make_home(folder, home)
            control = start_server(own, environment)
            pid = control.status().server.pid
            try:
                _apply(control, _write_profile(folder, file, unused_models), values)
                yield control
            finally:
                _stop(control, own, pid)
    finally:
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


def _stop(control: Control, home: Home, pid: int) -> None:
    """Whatever state it is in, the server is gone afterwards."""
    try:
        control.down()
        wait_until_stopped(home, pid)
    except LmrunError:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


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
