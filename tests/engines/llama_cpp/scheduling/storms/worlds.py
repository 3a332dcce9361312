"""The models that storms rage in: what is loaded, and with which settings. It knows no request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from lmrun.engines.base import AdapterFile, Attachments, CacheStore
from lmrun.engines.llama_cpp.engine import engine
from lmrun.engines.llama_cpp.model import GenerationModel
from lmrun.settings.load import LoadConfig
from tests.support.tiny_llama import TinyShape, write_tiny_llama
from tests.support.tiny_lora import write_tiny_lora
from tests.support.tiny_variants import write_tiny_gemma2, write_tiny_mamba
from tests.support.tiny_vision import MARKERS, Projector, write_tiny_projector

ADAPTERS = ("first", "second")
KINDS = ("llama", "separate", "mamba", "gemma2", "seeing")
CUTTABLE = ("llama", "separate", "seeing")
_PROJECTORS: tuple[Projector, ...] = ("mlp", "idefics3", "gemma3")


@dataclass(frozen=True, slots=True)
class World:
    """A model file and all that decides how it is loaded. `kind`: one of KINDS."""

    kind: str
    path: Path
    settings: dict[str, Any]
    attachments: Attachments = field(default_factory=Attachments)
    draft: Path | None = None

    @property
    def context_length(self) -> int:
        length: int = self.settings["context_length"]
        return length

    def load(self, **changes: Any) -> GenerationModel:
        """Loaded, with `changes` to its settings."""
        return self._load(self.attachments, changes)

    def load_alone(self) -> GenerationModel:
        """The same model for one sequence at a time, which reuses and guesses nothing."""
        adapters, mmproj = self.attachments.adapters, self.attachments.mmproj
        changes = {"max_parallel_predictions": 1, "kv_tokens": None, "prefix_cache": {"ram": "0B"}}
        return self._load(Attachments(adapters=adapters, mmproj=mmproj), changes)

    def _load(self, attachments: Attachments, changes: dict[str, Any]) -> GenerationModel:
        model = engine.load(
            self.path,
            LoadConfig.model_validate({**self.settings, **changes}),
            threads=1,
            on_progress=lambda fraction: None,
            attachments=attachments,
        )
        assert isinstance(model, GenerationModel)
        return model


class Worlds:
    """Draws worlds. `folder`: where their files lie; each is written once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stores = 0

    def draw(self, kind: str, random: Random) -> World:
        """A world of that kind."""
        length = random.choice([256, 512] if kind == "seeing" else [64, 128, 256, 512])
        parallel = random.randint(1, 6)
        settings: dict[str, Any] = {
            "context_length": length,
            "max_parallel_predictions": parallel,
            "eval_batch_size": random.choice([8, 16, 32, 64]),
            "flash_attention": False,
            "unified_kv_cache": kind != "separate" and random.choice([True, None]),
            "prefix_cache": {"ram": random.choice(["0B", "100kB", "400kB", "50MB"])},
        }
        if settings["unified_kv_cache"] and random.random() < 0.5:
            settings["kv_tokens"] = random.choice([length, length + length // 2, 2 * length])
        draft = self._write("draft.gguf", _write_draft) if kind == "llama" else None
        return World(
            kind, self._write_model(kind), settings, self._attach(kind, draft, random), draft
        )

    def _attach(self, kind: str, draft: Path | None, random: Random) -> Attachments:
        adapters: tuple[AdapterFile, ...] = ()
        if kind in ("llama", "separate"):
            adapters = tuple(self._adapter(number) for number in range(len(ADAPTERS)))
        projector = random.choice(_PROJECTORS) if kind == "seeing" else None
        return Attachments(
            adapters=adapters,
            mmproj=str(self._projector(projector)) if projector else None,
            draft_model=str(draft) if draft and random.random() < 0.2 else None,
            cache_store=self._open_store() if random.random() < 0.3 else None,
        )

    def _open_store(self) -> CacheStore:
        self._stores += 1
        folder = self._folder / f"prefixes-{self._stores}"
        folder.mkdir()
        return CacheStore(str(folder), b"k" * 32, "storm")

    def _adapter(self, number: int) -> AdapterFile:
        path = self._write(
            f"adapter-{number}.gguf", lambda path: write_tiny_lora(path, seed=number + 1)
        )
        return AdapterFile(ADAPTERS[number], str(path), scale=float(number))

    def _projector(self, kind: Projector) -> Path:
        return self._write(f"{kind}.gguf", lambda path: write_tiny_projector(path, kind=kind))

    def _write_model(self, kind: str) -> Path:
        write = {
            "mamba": write_tiny_mamba,
            "gemma2": write_tiny_gemma2,
            "seeing": lambda path: write_tiny_llama(path, seed=1, markers=MARKERS),
        }.get(kind, lambda path: write_tiny_llama(path, seed=1))
        return self._write(f"{kind}.gguf", write)

    def _write(self, name: str, write: Callable[[Path], Path]) -> Path:
        path = self._folder / name
        return path if path.exists() else write(path)


def _write_draft(path: Path) -> Path:
    return write_tiny_llama(path, seed=1, shape=TinyShape(layers=3))
