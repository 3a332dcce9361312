"""The scripted engine: models that say what a JSON file tells them to. For tests and demos.

Load settings other than `context_length` and `max_parallel_predictions` are accepted and change
nothing: nothing is computed, so every value of them gives the same text.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from lmrun.engines.base import NO_ATTACHMENTS, Attachments, Engine, LoadedModel
from lmrun.engines.scripted.model import ScriptedModel, crash
from lmrun.engines.scripted.script import LoadScript, Script, read_script
from lmrun.errors import LoadFailed, SettingRefused
from lmrun.settings.load import LoadConfig

_PROGRESS_STEPS = 20
_PAGE_BYTES = 4096


class ScriptedEngine:
    """Plays `*.scripted.json` files."""

    name = "scripted"

    def load(
        self,
        path: Path,
        config: LoadConfig,
        *,
        threads: int,
        on_progress: Callable[[float], None],
        attachments: Attachments = NO_ATTACHMENTS,
    ) -> LoadedModel:
        """Load a script: what its `load` section says happens here."""
        script = read_script(path)
        _require_nothing_attached(attachments)
        context_length = _choose_context_length(config, script)
        _spend_time(script.load.seconds, on_progress)
        memory = _hold_memory(script.load.memory_bytes)
        _fail_as_scripted(script.load, path)
        return ScriptedModel(script, context_length, config.max_parallel_predictions, memory)


def _require_nothing_attached(attachments: Attachments) -> None:
    for name in ("adapters", "mmproj", "draft_model"):
        if getattr(attachments, name):
            raise SettingRefused(
                f"load.{name}: a script has no use for it.",
                param=f"load.{name}",
                hint="Leave it out.",
            )


def _choose_context_length(config: LoadConfig, script: Script) -> int:
    length = config.context_length or script.context_length
    if length > script.context_length:
        raise SettingRefused(
            f"load.context_length: {length} is more than the script's {script.context_length}.",
            param="load.context_length",
            hint=f"Set at most {script.context_length}.",
        )
    return length


def _spend_time(seconds: float, on_progress: Callable[[float], None]) -> None:
    on_progress(0.0)
    for step in range(1, _PROGRESS_STEPS + 1):
        time.sleep(seconds / _PROGRESS_STEPS)
        on_progress(step / _PROGRESS_STEPS)


def _hold_memory(size_bytes: int) -> bytearray:
    """Memory that is really there: every page is written to."""
    memory = bytearray(size_bytes)
    pages = len(range(0, size_bytes, _PAGE_BYTES))
    memory[::_PAGE_BYTES] = b"\1" * pages
    return memory


def _fail_as_scripted(load: LoadScript, path: Path) -> None:
    if load.crash is not None:
        crash(load.crash)
    if load.refuse is not None:
        raise SettingRefused(load.refuse.message, param=load.refuse.param)
    if load.error is not None:
        raise LoadFailed(f"{path}: {load.error}")


engine: Engine = ScriptedEngine()
