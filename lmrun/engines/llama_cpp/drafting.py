"""Which sequences speculate, and with what. It knows no batch."""

from __future__ import annotations

import threading
from pathlib import Path

from lmrun.engines.base import SequenceSpec
from lmrun.engines.llama_cpp.loading.native import NativeModel
from lmrun.engines.llama_cpp.speculation.base import Drafter, FirstOf
from lmrun.engines.llama_cpp.speculation.draft_model import DraftModel, ModelDrafter
from lmrun.engines.llama_cpp.speculation.loading import load_draft_model
from lmrun.engines.llama_cpp.speculation.lookup import PromptLookup
from lmrun.errors import EngineError, InvalidParameter, SettingRefused, UnsupportedParameter
from lmrun.settings.load import LoadConfig


class Drafting:
    """The draft models of one model. `default`: the one of the load config."""

    def __init__(
        self, target: NativeModel, config: LoadConfig, threads: int, default: str | None
    ) -> None:
        """Raises SettingRefused and LoadFailed for a default that cannot guess for `target`."""
        self._target = target
        self._config = config
        self._threads = threads
        self._models: dict[str, DraftModel] = {}
        self._lock = threading.Lock()
        self._default = default
        if default is not None:
            if not target.traits.can_cut:
                raise SettingRefused(
                    f"load.draft_model: {target.weights.path} cannot take back a wrong guess, so "
                    "it does not speculate.",
                    param="load.draft_model",
                    hint="Leave it out.",
                )
            self._load(default)

    def prepare(self, path: str) -> None:
        """Load a draft model, once. Callable from any thread: it may take long.

        Raises InvalidParameter, naming `draft_model`, when it cannot guess for this model.
        """
        try:
            self._load(path)
        except EngineError as error:
            raise InvalidParameter(error.message, param="draft_model", hint=error.hint) from None

    def choose(self, spec: SequenceSpec) -> Drafter | None:
        """What guesses for a sequence; None when it is not to speculate.

        Raises UnsupportedParameter when this model cannot take back a wrong guess.
        """
        prediction = spec.prediction
        chosen: list[Drafter] = []
        if prediction.prompt_lookup:
            self._require_cuttable("prompt_lookup")
            chosen.append(PromptLookup())
        path = spec.draft_model or self._default
        if path is not None and prediction.deterministic != "strict":
            self._require_cuttable("draft_model")
            self.prepare(path)
            chosen.append(ModelDrafter(self._models[path], spec.id))
        if len(chosen) > 1:
            return FirstOf(chosen)
        return chosen[0] if chosen else None

    def set_threads(self, threads: int) -> None:
        self._threads = threads
        for model in list(self._models.values()):
            model.set_threads(threads)

    def close(self) -> None:
        """Free all draft models."""
        with self._lock:
            for model in self._models.values():
                model.close()
            self._models.clear()

    def _load(self, path: str) -> None:
        with self._lock:
            if path not in self._models:
                self._models[path] = load_draft_model(
                    Path(path), self._target, self._config, self._threads, lambda fraction: None
                )

    def _require_cuttable(self, param: str) -> None:
        if not self._target.traits.can_cut:
            raise UnsupportedParameter(
                f"{param}: this model cannot take back a wrong guess, so it does not speculate.",
                param=param,
                hint="Leave it out.",
            )
