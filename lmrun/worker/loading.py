"""Loading: from the first frame to a model in memory, and to what it says of itself. It knows no
sequence."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from lmrun.engines.base import LoadedModel, ModelInfo
from lmrun.engines.registry import get_engine
from lmrun.errors import SettingRefused
from lmrun.settings.load import LoadConfig
from lmrun.settings.prompt_template import PromptTemplate
from lmrun.worker.frames import Load
from lmrun.worker.rendering.overrides import Override, check_override, write_override

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


def read_override(load: Load) -> Override | None:
    """The template to use instead of the model's own. Raises SettingRefused when it is none."""
    if load.prompt_template is None:
        return None
    override = write_override(PromptTemplate.model_validate(load.prompt_template))
    check_override(override)
    return override


def describe(info: ModelInfo, override: Override | None) -> ModelInfo:
    """What the model says of itself, with the template that it uses.

    Raises SettingRefused when it has no use for one.
    """
    if override is None:
        return info
    if info.type == "embedding":
        raise SettingRefused(
            "prompt_template: this model makes embeddings; it holds no conversations.",
            param="prompt_template",
            hint="Leave it out.",
        )
    return msgspec.structs.replace(info, chat_template=override.source)


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
