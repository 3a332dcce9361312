"""Which engine runs which model file. It imports an engine only when asked for it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

from lmrun.engines.base import Engine
from lmrun.errors import ModelInvalid

ENGINES = {
    "llama_cpp": "lmrun.engines.llama_cpp.engine",
    "scripted": "lmrun.engines.scripted.engine",
}


def choose_engine(path: Path) -> str:
    """The engine's name for a model file, by its ending. Raises ModelInvalid for others."""
    name = path.name.lower()
    if name.endswith(".gguf"):
        return "llama_cpp"
    if name.endswith(".scripted.json"):
        return "scripted"
    raise ModelInvalid(
        f"{path}: no engine runs this kind of file.",
        hint="A model is a .gguf file, or a .scripted.json script for tests.",
    )


def get_engine(name: str) -> Engine:
    """The engine itself; each engine's module holds one instance called `engine`."""
    return cast(Engine, importlib.import_module(ENGINES[name]).engine)
