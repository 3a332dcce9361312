"""From a request to the sequence that an engine runs: template, tokens, images, what is kept.

It knows no thread and no socket.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from lmrun.chat.events import PromptText
from lmrun.chat.messages import Conversation, Message, Prompt, RawPrompt, TokenPrompt
from lmrun.engines.base import ImageSpan, ModelInfo, SequenceSpec
from lmrun.errors import (
    ContextOverflow,
    InvalidParameter,
    TemplateFailed,
    UnsupportedParameter,
)
from lmrun.settings.prediction import PredictionConfig
from lmrun.settings.structured import GrammarOutput, StructuredOutput, open_thought
from lmrun.worker.frames import Generate, PromptReport
from lmrun.worker.rendering.client import TemplateRenderer
from lmrun.worker.rendering.exchange import Template

_TAIL_CHARACTERS = 256
"""Enough to see what a template leaves open at a prompt's end."""

_IMAGE = "[image]"
"""Stands for an image in a reported prompt."""

_LONG_CHARACTERS_PER_TOKEN = 8
"""A text with fewer is tokenised without a look: it may fit, and does not take long."""


class Tokenizer(Protocol):
    """The part of a loaded model that may be used from any thread."""

    @property
    def info(self) -> ModelInfo: ...

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]: ...

    def count_at_least(self, text: str) -> int: ...

    def detokenize(self, tokens: Sequence[int]) -> bytes: ...

    def prepare_prompt(
        self, pieces: Sequence[str | bytes], *, add_special: bool
    ) -> tuple[tuple[int, ...], tuple[ImageSpan, ...]]: ...

    def tokenize_pair(self, query: str, document: str) -> list[int]: ...

    def make_constraint(self, structured: StructuredOutput) -> Any: ...

    def prepare_draft_model(self, path: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Read:
    """A prompt that was read: its text, an image's place marked, its tokens and its images."""

    text: str
    tokens: Sequence[int]
    spans: tuple[ImageSpan, ...] = ()


class PromptMaker:
    """Makes sequences for one model. `renderer`: of its chat template, where it has one.
    `stop_strings`: what ends an answer in a conversation, besides those of the request."""

    def __init__(
        self,
        model: Tokenizer,
        renderer: TemplateRenderer | None,
        stop_strings: tuple[str, ...] = (),
    ) -> None:
        self._model = model
        self._renderer = renderer
        self._stop_strings = stop_strings

    def start(self) -> None:
        """Start the process that renders, so that the first conversation need not wait for it."""
        if self._renderer is not None:
            self._renderer.start()

    def close(self) -> None:
        """End that process."""
        if self._renderer is not None:
            self._renderer.close()

    def make_spec(self, generate: Generate) -> tuple[SequenceSpec, PromptText | None]:
        """What the engine is to run, and what the request wants to know of the prompt's text.

        Raises RequestError and TemplateFailed.
        """
        if self._model.info.type == "embedding":
            raise UnsupportedParameter(
                "This model makes embeddings; it cannot generate text.", param="model"
            )
        prediction = self._read_prediction(generate)
        if generate.draft_model is not None:
            self._model.prepare_draft_model(generate.draft_model)
        policy = prediction.context_overflow_policy
        read = self.read(generate.prompt, must_fit=policy == "stopAtLimit")
        if not read.tokens:
            raise InvalidParameter("The prompt is empty.", param="prompt")
        prediction, constraint = self._constrain(prediction, read.text)
        keep = 0
        if policy == "truncateMiddle":
            keep = self._count_kept(generate.prompt, read.tokens)
        spec = SequenceSpec(
            id=generate.id,
            prompt=tuple(read.tokens),
            prediction=prediction,
            images=read.spans,
            keep=keep,
            draft_model=generate.draft_model,
            constraint=constraint,
            reveals_special=generate.reveals_special,
        )
        return spec, self._report(generate, read)

    def _read_prediction(self, generate: Generate) -> PredictionConfig:
        prediction = PredictionConfig.model_validate(generate.prediction)
        if not self._stop_strings or not isinstance(generate.prompt, Conversation):
            return prediction
        stop_strings = (*prediction.stop_strings, *self._stop_strings)
        return prediction.model_copy(update={"stop_strings": stop_strings})

    def _constrain(self, prediction: PredictionConfig, prompt: str) -> tuple[PredictionConfig, Any]:
        """The prediction, without what a model that cannot be constrained need not enforce, and
        its constraint."""
        structured = prediction.structured
        if structured is None:
            return prediction, None
        try:
            return prediction, self._model.make_constraint(open_thought(structured, prompt))
        except UnsupportedParameter:
            if not (isinstance(structured, GrammarOutput) and structured.best_effort):
                raise
            return prediction.overlay(PredictionConfig(structured=None)), None

    def make_prewarm(self, id: int, system_prompt: str) -> SequenceSpec:
        """The beginning that all conversations with `system_prompt` share, to be computed once."""
        system = Message(role="system", content=system_prompt)
        variants = [
            self.read(Conversation((system, Message(role="user", content=text)))).tokens
            for text in ("a", "B")
        ]
        shared = _common_beginning(*variants)
        if not shared:
            raise TemplateFailed("The model's chat template does not begin with a system prompt.")
        return SequenceSpec(id, tuple(shared), PredictionConfig(max_tokens=0))

    def read(self, prompt: Prompt, *, must_fit: bool = False) -> Read:
        """The tokens of a prompt, and its text unless it came without one.

        Raises RequestError and TemplateFailed; with `must_fit` also ContextOverflow, at once, for a
        text that is far too long.
        """
        if isinstance(prompt, TokenPrompt):
            _require_known(prompt.tokens, self._model.info)
            return Read("", prompt.tokens)
        images = prompt.images if isinstance(prompt, Conversation) else ()
        marker = f"image-{secrets.token_hex(16)}" if images else ""
        text = self._make_text(prompt, marker)
        if must_fit:
            self._require_room(text)
        # A template writes the BOS token itself; where it does not, the tokenizer adds it.
        bos = self._model.info.bos_token
        add_special = not (bos and text.startswith(bos))
        if images:
            pieces = interleave(text, marker, images)
            tokens, spans = self._model.prepare_prompt(pieces, add_special=add_special)
            return Read(text.replace(marker, _IMAGE), tokens, spans)
        return Read(text, self._model.tokenize(text, add_special=add_special, parse_special=True))

    def _require_room(self, text: str) -> None:
        """Raises ContextOverflow for a text that is far too long, before it is tokenised: other
        prompts wait meanwhile."""
        room = self._model.info.context_length
        if len(text) < _LONG_CHARACTERS_PER_TOKEN * room:
            return
        tokens = self._model.count_at_least(text)
        if tokens >= room:
            raise ContextOverflow(
                f"The prompt has at least {tokens} tokens and leaves no room for an answer in a "
                f"context of {room}.",
                param="prompt",
                hint="Shorten it, or raise the model's context_length.",
            )

    def _count_kept(self, prompt: Prompt, tokens: Sequence[int]) -> int:
        """Tokens of the system prompt and the first user message, at the prompt's beginning."""
        if not isinstance(prompt, Conversation):
            return 0
        first_user = next(
            (n for n, message in enumerate(prompt.messages) if message.role == "user"), None
        )
        if first_user is None:
            return 0
        beginning = msgspec.structs.replace(prompt, messages=prompt.messages[: first_user + 1])
        return len(_common_beginning(self.read(beginning).tokens, tokens))

    def _report(self, generate: Generate, read: Read) -> PromptText | None:
        text = read.text
        if isinstance(generate.prompt, TokenPrompt) and generate.reports_prompt != "nothing":
            text = self._model.detokenize(read.tokens).decode(errors="replace")
        return report(text, generate.reports_prompt)

    def _make_text(self, prompt: Conversation | RawPrompt, marker: str) -> str:
        if isinstance(prompt, RawPrompt):
            return prompt.text
        if self._renderer is None:
            raise TemplateFailed(
                "The model has no chat template, so it cannot answer a conversation.",
                hint="Give it one in the profile, under the model's key, for example "
                "`prompt_template: {name: chatml}`; or send a plain prompt to /v1/completions.",
            )
        return self._renderer.render(prompt, marker)


def make_renderer(info: ModelInfo) -> TemplateRenderer | None:
    """The renderer of a model's chat template; None when it has none or generates no text."""
    if info.chat_template is None or info.type == "embedding":
        return None
    return TemplateRenderer(Template(info.chat_template, info.bos_token, info.eos_token))


def report(text: str, how_much: PromptReport) -> PromptText | None:
    """The event that says what the prompt is, if it is wanted."""
    if how_much == "nothing":
        return None
    is_whole = how_much == "all" or len(text) <= _TAIL_CHARACTERS
    return PromptText(text if is_whole else text[-_TAIL_CHARACTERS:], is_whole)


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


def _require_known(tokens: Sequence[int], info: ModelInfo) -> None:
    wrong = next((token for token in tokens if not 0 <= token < info.vocab_size), None)
    if wrong is not None:
        raise InvalidParameter(
            f"prompt: the vocabulary has no token {wrong}.",
            param="prompt",
            hint=f"Token ids go from 0 to {info.vocab_size - 1}.",
        )


def _common_beginning(first: Sequence[int], second: Sequence[int]) -> list[int]:
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    return [token for token, _ in pairs]
