"""What an instance should be, as a value. It knows no process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lmrun.catalog.catalog import LocatedModel
from lmrun.runtime.residency.residency import DECLARED, Residency
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from lmrun.settings.prompt_template import PromptTemplate


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """One instance: `prediction` and `system_prompt` are hot, the rest is fixed by the load.

    `size` (bytes) and `mtime_ns` identify the file that is meant: a changed file is a Reload.
    `adapters`: a file for each of `load.adapters`, in order. `prewarm`: system prompts to compute
    at the next load; hot too. `prompt_template`: what is used instead of the model's own.
    `residency`: why it is loaded; hot.
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
    adapters: tuple[LocatedModel, ...] = ()
    mmproj: LocatedModel | None = None
    draft_model: LocatedModel | None = None
    prewarm: tuple[str, ...] = ()
    prompt_template: PromptTemplate | None = None
    residency: Residency = DECLARED

    @property
    def attached(self) -> dict[str, LocatedModel]:
        """The files besides the model, by the fields that name them."""
        files = {f"load.adapters[{n}]": file for n, file in enumerate(self.adapters)}
        optional = {"load.mmproj": self.mmproj, "load.draft_model": self.draft_model}
        return files | {name: file for name, file in optional.items() if file is not None}

    @property
    def identity(self) -> str:
        """Which files it is made of, as text: other files, other text."""
        model = LocatedModel(self.path, self.size, self.mtime_ns)
        files = {"model": model} | self.attached
        return "\n".join(
            f"{name} {file.path} {file.size} {file.mtime_ns}" for name, file in files.items()
        )
