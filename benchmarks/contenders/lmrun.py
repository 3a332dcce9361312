"""The whole house: `lmrun serve` in a process of its own, over HTTP."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

from benchmarks.answers import Refused
from benchmarks.contenders.base import (
    LMRUN,
    LMRUN_UNIFIED,
    THREADS,
    HttpContender,
    Place,
)
from benchmarks.contenders.process import Process
from lmrun.cli.client import Control
from lmrun.errors import LmrunError
from lmrun.reconcile.status import Status
from lmrun.store.home import Home


class LmrunServer(HttpContender):
    """lmrun on a profile that holds the setup's models and nothing else."""

    name = LMRUN
    load: Mapping[str, object] = {}  # never changed

    def __init__(self, place: Place) -> None:
        self._place = place
        self.profile = place.folder / "profile.yaml"
        self._home = Home(place.folder)
        self._control = Control(self._home.control_socket)
        self._process: Process | None = None

    async def start(self) -> None:
        self._home.ensure()
        self.profile.write_text(json.dumps(self._make_profile()))
        self._process = Process(
            [sys.executable, "-m", "lmrun", "serve", str(self.profile)],
            {**os.environ, "LMRUN_HOME": str(self._home.root)},
            self._place.folder / "server.log",
        )
        try:
            await self._process.wait_until(self._is_converged)
        except RuntimeError as error:
            raise Refused(str(error)) from error
        address = self._control.status().server.address
        assert address is not None
        self.address = address

    async def stop(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None

    def status(self) -> Status:
        """The server's own status."""
        return self._control.status()

    def _make_profile(self) -> dict[str, object]:
        setup = self._place.setup
        load = {
            "context_length": setup.context_length,
            "max_parallel_predictions": setup.parallel,
            "threads": THREADS,
            **setup.load,
            **self.load,
        }
        declared = {"source": f"file:{self._place.model}", "load": load}
        names = "abcdefgh"[: setup.models]
        return {
            "version": 1,
            "server": {"port": 0},
            "models": dict.fromkeys(names, declared),
        }

    def _is_converged(self) -> bool:
        try:
            conditions = self._control.status().conditions
        except LmrunError:
            return False
        return any(it.type == "Converged" and it.status == "True" for it in conditions)


class UnifiedLmrunServer(LmrunServer):
    """With one KV pool for all sequences: a prefix that they share lies there once."""

    name = LMRUN_UNIFIED
    load = {"unified_kv_cache": True}  # noqa: RUF012  # never changed
