"""Loading: from the first frame to a model in memory. It knows no sequence."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from lmrun.engines.base import LoadedModel
from lmrun.engines.registry import get_engine
from lmrun.settings.load import LoadConfig
from lmrun.worker.frames import Load

_PROGRESS_EVERY_S = 0.05


def load_model(load: Load, on_progress: Callable[[float], None]) -> LoadedModel:
    """Check the files where native code could not, then load it.

    Raises what `Engine.load` raises, and ModelInvalid from the check.
    """
    path = Path(load.path)
    if load.engine == "llama_cpp":
        # Only this engine's files are GGUF; the others must not pay for the import.
        from lmrun.catalog.gguf import check_before_load

        check_before_load(path)
        if load.attachments.draft_model is not None:
            check_before_load(Path(load.attachments.draft_model))
    config = LoadConfig.model_validate(load.config)
    report = throttle(on_progress, time.monotonic)
    return get_engine(load.engine).load(
        path,
        config,
        threads=load.threads,
        on_progress=report,
        attachments=load.attachments,
    )


def throttle(
    on_progress: Callable[[float], None], clock: Callable[[], float]
) -> Callable[[float], None]:
    """`on_progress` called at most every 50 ms, and always for the end."""
    last = -_PROGRESS_EVERY_S

    def report(fraction: float) -> None:
        nonlocal last
        now = clock()
        if fraction >= 1.0 or now - last >= _PROGRESS_EVERY_S:
            last = now
            on_progress(fraction)

    return report
