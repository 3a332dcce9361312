"""The llama.cpp engine's front door. It imports llama-cpp-python only when a model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lmrun.engines.base import NO_ATTACHMENTS, Attachments, Engine, LoadedModel
from lmrun.errors import EngineMissing
from lmrun.settings.load import LoadConfig


class LlamaCppEngine:
    """GGUF models, batched over sequences, on llama.cpp through llama-cpp-python."""

    name = "llama_cpp"

    def load(
        self,
        path: Path,
        config: LoadConfig,
        *,
        threads: int,
        on_progress: Callable[[float], None],
        attachments: Attachments = NO_ATTACHMENTS,
    ) -> LoadedModel:
        """Load `path`. `config.threads` bounds `threads`, now and later."""
        _require_package()
        from lmrun.engines.llama_cpp.embedding.model import EmbeddingModel
        from lmrun.engines.llama_cpp.loading.native import load_native
        from lmrun.engines.llama_cpp.model import GenerationModel

        native = load_native(
            path, config, min(threads, config.threads or threads), on_progress, attachments
        )
        if native.info.type == "embedding":
            return EmbeddingModel(native, config.threads)
        return GenerationModel(native, config, threads, attachments)


def _require_package() -> None:
    """Raises EngineMissing when llama-cpp-python, or its shared library, cannot be loaded."""
    try:
        import llama_cpp  # noqa: F401  # its import is the check
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineMissing(
            f"The engine llama_cpp is not installed: {error}.",
            hint="Install it with: pip install 'lmrun[llama-cpp]'",
        ) from error


engine: Engine = LlamaCppEngine()
