"""The two protocols of an engine, and the values they exchange.

An engine lives inside a worker process, owned by one thread: every method except `tokenize` and
`detokenize` is called from that thread only. It knows no HTTP, no profile, no chat message and
no stop string: tokens and bytes go in and out, the worker makes text of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig

ModelType = Literal["llm", "embedding", "vlm"]
FinishReason = Literal["eosFound", "maxPredictedTokensReached", "contextLengthReached"]


class ModelInfo(msgspec.Struct, frozen=True):
    """What a loaded model says of itself.

    `context_length`: tokens one sequence may hold. `max_sequences`: how many generate at once.
    `bos_token`, `eos_token`: their text, for templates. `embedding_length`: size of a vector.
    """

    engine: str
    engine_version: str
    type: ModelType
    architecture: str
    context_length: int
    max_sequences: int
    vocab_size: int
    embedding_length: int
    chat_template: str | None = None
    bos_token: str = ""
    eos_token: str = ""


class SequenceSpec(msgspec.Struct, frozen=True):
    """One generation to run. `prompt`: token ids, at least one, fewer than `context_length`.

    `id`: not in use by a sequence that is still there. With `max_tokens` 0 the prompt is processed
    and nothing generated; prompt and answer together hold at most `context_length` tokens.
    """

    id: int
    prompt: tuple[int, ...]
    prediction: PredictionConfig


class TokenProduced(msgspec.Struct, frozen=True):
    """One generated token. `piece`: its bytes, possibly part of a character, possibly empty.

    A control token's piece is empty: `detokenize` renders it for whoever wants to see it.
    """

    sequence: int
    token: int
    piece: bytes


class PromptProcessed(msgspec.Struct, frozen=True):
    """`processed` of the prompt's tokens are in the context, `cached` of them not recomputed.

    One per slice of the prompt; the last one says the whole prompt and precedes the first token.
    """

    sequence: int
    processed: int
    cached: int = 0


class SequenceFinished(msgspec.Struct, frozen=True):
    """The sequence ended by itself and is gone; the end-of-sequence token is not produced."""

    sequence: int
    reason: FinishReason


class SequenceFailed(msgspec.Struct, frozen=True):
    """The sequence cannot go on and is gone; the others are untouched."""

    sequence: int
    message: str


StepEvent = TokenProduced | PromptProcessed | SequenceFinished | SequenceFailed


class LoadedModel(Protocol):
    """A model in memory, able to run up to `info.max_sequences` sequences at once."""

    @property
    def info(self) -> ModelInfo: ...

    @property
    def active(self) -> int:
        """Sequences that are being processed."""

    @property
    def waiting(self) -> int:
        """Sequences that were added and wait for a place."""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of `text`. `add_special`: with BOS/EOS where the model wants them.
        `parse_special`: markup like `<|im_start|>` becomes its token. Callable from any thread.

        Raises InvalidParameter for a lone surrogate, which is no text.
        """

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        """The bytes of `tokens`, special ones rendered. Callable from any thread.

        Raises InvalidParameter for an id outside the vocabulary.
        """

    def add(self, spec: SequenceSpec) -> None:
        """Queue a sequence, first come first served. Returns at once; work happens in `step`.

        Raises ContextOverflow when the prompt does not leave room for one token,
        InvalidParameter for what this model cannot honour (a token id out of range, an id in
        use, an empty prompt) and UnsupportedParameter when it is an embedding model. Nothing is
        queued then.
        """

    def cancel(self, sequence: int) -> None:
        """Drop a sequence and free all it holds, now. Unknown ids are ignored: it may have ended.

        No event of that sequence is produced afterwards.
        """

    def step(self) -> list[StepEvent]:
        """One batched decode for every active sequence, plus a slice of waiting prefill.

        Returns at once with nothing when no sequence is there; otherwise within the time of one
        bounded decode, so commands are never long in coming. A sequence's failure is an event.
        Raises EngineError only when the whole model is unusable; the worker then exits.
        """

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        """One unit-length vector of `info.embedding_length` per input (each a list of token ids).

        Raises UnsupportedParameter when the model is no embedding model, ContextOverflow when an
        input is longer than the context, InvalidParameter when one is empty or holds an id
        outside the vocabulary.
        """

    def set_threads(self, threads: int) -> None:
        """Use at most `threads` CPU threads from the next step on."""

    def close(self) -> None:
        """Free everything, also of sequences at work. The object is not used afterwards; a second
        `close` does nothing."""


class Engine(Protocol):
    """How to turn a model file into a `LoadedModel`."""

    name: str

    def load(
        self,
        path: Path,
        config: LoadConfig,
        *,
        threads: int,
        on_progress: Callable[[float], None],
    ) -> LoadedModel:
        """Load `path`. `on_progress` receives 0.0 to 1.0, from the calling thread; what it raises
        ends the load and is raised here. `config.threads` bounds `threads`, now and later.

        Raises EngineMissing (package not installed), ModelInvalid (file refused), SettingRefused
        (this build or model cannot do what `config` says), LoadFailed (anything else).
        """
