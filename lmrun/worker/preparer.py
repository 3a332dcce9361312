"""From a prompt to token ids, on a thread of its own: neither template nor tokenizer delays a step.

It knows no socket and adds nothing to the engine.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

from lmrun.chat.messages import Conversation, Prompt, mark_images
from lmrun.engines.base import ImageSpan, ModelInfo, SequenceSpec
from lmrun.errors import InvalidParameter, LmrunError, TemplateFailed, UnsupportedParameter
from lmrun.settings.prediction import PredictionConfig
from lmrun.worker.frames import Generate, WireError
from lmrun.worker.rendering.client import TemplateRenderer
from lmrun.worker.rendering.exchange import Template
from lmrun.worker.wire_errors import to_wire


@dataclass(frozen=True, slots=True)
class Prepared:
    """A sequence that the engine can take."""

    spec: SequenceSpec


@dataclass(frozen=True, slots=True)
class Unprepared:
    """A sequence whose prompt never became tokens."""

    id: int
    error: WireError


class Tokenizer(Protocol):
    """The part of a loaded model that may be used from any thread."""

    @property
    def info(self) -> ModelInfo: ...

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]: ...

    def prepare_prompt(
        self, pieces: Sequence[str | bytes], *, add_special: bool
    ) -> tuple[tuple[int, ...], tuple[ImageSpan, ...]]: ...


class Preparer:
    """Prepares sequences first come, first served, and hands each to `deliver`."""

    def __init__(self, model: Tokenizer, deliver: Callable[[Prepared | Unprepared], None]) -> None:
        self._model = model
        self._deliver = deliver
        self._renderer = make_renderer(model.info)
        self._queue: SimpleQueue[Generate | None] = SimpleQueue()
        self._wanted: set[int] = set()
        self._thread = threading.Thread(target=self._run, name="preparer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, generate: Generate) -> None:
        """Queue a sequence. Callable from any thread."""
        self._wanted.add(generate.id)
        self._queue.put(generate)

    def cancel(self, sequence: int) -> None:
        """Do not begin with a sequence that still waits. Callable from any thread."""
        self._wanted.discard(sequence)

    def close(self, timeout_s: float) -> None:
        """Wait until nothing uses the model any more, at most `timeout_s`."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        # Started here, since on Linux a child with a death signal dies with the thread, not the
        # process, that started it.
        if self._renderer is not None:
            self._renderer.start()
        while (generate := self._queue.get()) is not None:
            if generate.id in self._wanted:
                self._wanted.discard(generate.id)
                self._deliver(self._prepare(generate))
        if self._renderer is not None:
            self._renderer.close()

    def _prepare(self, generate: Generate) -> Prepared | Unprepared:
        try:
            return Prepared(self._make_spec(generate))
        except LmrunError as error:
            return Unprepared(generate.id, to_wire(error))

    def _make_spec(self, generate: Generate) -> SequenceSpec:
        prediction = PredictionConfig.model_validate(generate.prediction)
        images = generate.prompt.images if isinstance(generate.prompt, Conversation) else ()
        marker = f"image-{secrets.token_hex(16)}" if images else ""
        text = self._make_text(generate.prompt, marker)
        # A template writes the BOS token itself; where it does not, the tokenizer adds it.
        bos = self._model.info.bos_token
        add_special = not (bos and text.startswith(bos))
        spans: tuple[ImageSpan, ...] = ()
        tokens: Sequence[int]
        if images:
            pieces = interleave(text, marker, images)
            tokens, spans = self._model.prepare_prompt(pieces, add_special=add_special)
        else:
            tokens = self._model.tokenize(text, add_special=add_special, parse_special=True)
        if not tokens:
            raise InvalidParameter("The prompt is empty.", param="prompt")
        return SequenceSpec(
            id=generate.id, prompt=tuple(tokens), prediction=prediction, images=spans
        )

    def _make_text(self, prompt: Prompt, marker: str) -> str:
        if self._model.info.type == "embedding":
            raise UnsupportedParameter(
                "This model makes embeddings; it cannot generate text.", param="model"
            )
        if not isinstance(prompt, Conversation):
            return prompt.text
        if self._renderer is None:
            raise TemplateFailed(
                "The model has no chat template, so it cannot answer a conversation.",
                hint="Send a plain prompt to /v1/completions instead.",
            )
        return self._renderer.render(mark_images(prompt.messages, marker))


def interleave(text: str, marker: str, images: Sequence[bytes]) -> list[str | bytes]:
    """`text` cut at its markers, an image in place of each. A marker is random for every prompt,
    so that no message can hold it.

    Raises TemplateFailed when the template did not write every message's content just once.
    """
    texts = text.split(marker)
    if len(texts) != len(images) + 1:
        raise TemplateFailed(
            f"The model's chat template made {len(texts) - 1} places for {len(images)} images.",
            hint="It shows some messages' content never or twice: this model needs another one.",
        )
    pieces: list[str | bytes] = [texts[0]]
    for image, following in zip(images, texts[1:], strict=True):
        pieces += (image, following)
    return pieces


def make_renderer(info: ModelInfo) -> TemplateRenderer | None:
    """The renderer of a model's chat template; None when it has none or generates no text."""
    if info.chat_template is None or info.type == "embedding":
        return None
    return TemplateRenderer(Template(info.chat_template, info.bos_token, info.eos_token))
