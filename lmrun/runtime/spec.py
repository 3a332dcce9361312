"""What an instance should be, as a value. It knows no process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """One instance: `prediction` and `system_prompt` are hot, the rest is fixed by the load.

    `size` (bytes) and `mtime_ns` identify the file that is meant: a changed file is a Reload.
    """

    identifier: str
    model_key: str
    engine: str
    path: Path
    size: int
    mtime_ns: int
    load: LoadConfig
    prediction: PredictionConfig = field(default_factory=PredictionConfig)
    system_prompt: str | None = None
