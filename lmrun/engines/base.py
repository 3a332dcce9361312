"""The two protocols of an engine, and the values they exchange.

An engine lives inside a worker process, owned by one thread: every method except `tokenize` and
`detokenize` is called from that thread only. It knows no HTTP, no profile, no chat message and
no stop string: tokens and bytes go in and out, the worker makes text of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from lmrun.settings.structured import StructuredOutput

ModelType = Literal["llm", "embedding", "vlm"]
Pooling = Literal["mean", "cls", "last", "rank"]
FinishReason = Literal["eosFound", "maxPredictedTokensReached", "contextLengthReached"]


class ModelInfo(msgspec.Struct, frozen=True):
    """What a loaded model says of itself.

    `context_length`: tokens one sequence may hold. `max_sequences`: how many generate at once.
    `bos_token`, `eos_token`: their text, for templates. `embedding_length`: size of a vector.
    `pooling`: how an embedding model makes one vector of a text, `rank` if it scores documents
    instead; None for other types.
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
    accepts_images: bool = False
    adapters: tuple[str, ...] = ()
    fingerprint: str = ""
    pooling: Pooling | None = None


class AdapterFile(msgspec.Struct, frozen=True):
    """A LoRA adapter to load. `name`: what requests call it. `scale`: its default strength."""

    name: str
    path: str
    scale: float = 1.0


class CacheStore(msgspec.Struct, frozen=True):
    """Where a worker keeps prefixes across its own end. `folder`: private to the user.

    `secret`: key of the files' MACs, 32 bytes. `identity`: what the model file is, as text.
    """

    folder: str
    secret: bytes
    identity: str


class Attachments(msgspec.Struct, frozen=True):
    """The files that belong to a load besides the model, resolved by whoever names sources."""

    adapters: tuple[AdapterFile, ...] = ()
    mmproj: str | None = None
    draft_model: str | None = None
    cache_store: CacheStore | None = None


NO_ATTACHMENTS = Attachments()


class ImageSpan(msgspec.Struct, frozen=True):
    """An image inside a prompt: its `length` positions from `begin` on hold no token ids but
    negative numbers derived from the image's bytes, so that equal prompts have equal numbers.

    `handle`: the encoded image, as the engine's `prepare_prompt` gave it; only that engine knows
    what it is.
    """

    begin: int
    length: int
    handle: Any


class SequenceSpec(msgspec.Struct, frozen=True):
    """One generation to run. `prompt`: token ids, at least one, fewer than `context_length`.

    `id`: not in use by a sequence that is still there. With `max_tokens` 0 the prompt is processed
    and nothing generated; prompt and answer together hold at most `context_length` tokens.
    `keep`: tokens at the prompt's beginning that `truncateMiddle` keeps; with that policy or
    `rollingWindow` the prompt may be longer than the context. `draft_model`: the file of
    `prediction.draft_model`. `constraint`: what `make_constraint` gave for
    `prediction.structured`. `reveals_special`: control tokens have their text as `piece`, not
    nothing; those that end the sequence end it all the same.
    """

    id: int
    prompt: tuple[int, ...]
    prediction: PredictionConfig
    images: tuple[ImageSpan, ...] = ()
    keep: int = 0
    draft_model: str | None = None
    constraint: Any = None
    reveals_special: bool = False


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token's natural log probability under the model, before any sampling setting.

    `piece`: its bytes, special tokens rendered. `top`: the likeliest tokens, likeliest first.
    """

    token: int
    piece: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


class TokenProduced(msgspec.Struct, frozen=True):
    """One generated token. `piece`: its bytes, possibly part of a character, possibly empty.

    A control token's piece is empty: `detokenize` renders it for whoever wants to see it.
    `logprob` is there when the sequence asked for logprobs.
    """

    sequence: int
    token: int
    piece: bytes
    logprob: TokenLogprob | None = None


class PromptProcessed(msgspec.Struct, frozen=True):
    """`processed` of the prompt's tokens are in the context, `cached` of them not recomputed.

    One per slice of the prompt; the last one says the whole prompt and precedes the first token.
    """

    sequence: int
    processed: int
    cached: int = 0


class PromptScored(msgspec.Struct, frozen=True):
    """Log probabilities of prompt tokens, in order; for a sequence with `echo` and `logprobs`.

    The prompt's first token has none: it is left out.
    """

    sequence: int
    tokens: tuple[TokenLogprob, ...]


class SequenceStats(msgspec.Struct, frozen=True):
    """Counts of one sequence, in tokens. `drafted`, `accepted`: by speculation. `forced`: by a
    grammar that left no choice. `shifted`: dropped because the context was full."""

    drafted: int = 0
    accepted: int = 0
    forced: int = 0
    shifted: int = 0


class SequenceFinished(msgspec.Struct, frozen=True):
    """The sequence ended by itself and is gone; the end-of-sequence token is not produced."""

    sequence: int
    reason: FinishReason
    stats: SequenceStats = SequenceStats()


class SequenceFailed(msgspec.Struct, frozen=True):
    """The sequence cannot go on and is gone; the others are untouched."""

    sequence: int
    message: str


StepEvent = TokenProduced | PromptProcessed | PromptScored | SequenceFinished | SequenceFailed


class EngineUsage(msgspec.Struct, frozen=True):
    """What a loaded model holds and has done, for status. Sizes in bytes, counts in tokens.

    `kv_tokens`: cells of the KV pool; `kv_tokens_used`: held by sequences now.
    `prefilled_tokens`: prompt tokens computed; `cached_tokens`: prompt tokens that were not.
    """

    kv_tokens: int = 0
    kv_tokens_used: int = 0
    prefix_cache_bytes: int = 0
    prefix_cache_limit: int = 0
    prefix_cache_entries: int = 0
    prefilled_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0


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

    def count_at_least(self, text: str) -> int:
        """A lower bound of how many tokens `text` has, found at once: tokenising megabytes takes
        seconds. Callable from any thread."""

    def prepare_prompt(
        self, pieces: Sequence[str | bytes], *, add_special: bool
    ) -> tuple[tuple[int, ...], tuple[ImageSpan, ...]]:
        """A prompt of texts and image files in their order, tokenised as with `parse_special`,
        its images encoded. Callable from any thread: it may take long.

        Raises UnsupportedParameter when the model has no vision, InvalidParameter for an image
        that cannot be decoded or is too large, with `images[n]` as its `param`.
        """

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        """The bytes of `tokens`, special ones rendered. Callable from any thread.

        Raises InvalidParameter for an id outside the vocabulary.
        """

    def make_constraint(self, structured: StructuredOutput) -> Any:
        """Compile what an answer must look like, for one `SequenceSpec`. Callable from any thread:
        it may take long.

        Raises InvalidParameter for what cannot be enforced, UnsupportedParameter when this model
        cannot be constrained at all.
        """

    def prepare_draft_model(self, path: str) -> None:
        """Load a draft model, so that `add` need not. Callable from any thread: it may take long.

        Raises InvalidParameter or UnsupportedParameter when it cannot guess for this model.
        """

    def add(self, spec: SequenceSpec) -> None:
        """Queue a sequence, first come first served. Returns at once; work happens in `step`.

        Raises ContextOverflow when the prompt does not leave room for one token,
        InvalidParameter for what this model cannot honour (a token id out of range, an id in
        use, an empty prompt, a schema that cannot be enforced) and UnsupportedParameter when it is
        an embedding model or a setting needs what it lacks. Nothing is queued then.
        """

    def cancel(self, sequence: int) -> SequenceStats | None:
        """Drop a sequence and free all it holds, now. Its counts so far; None for an unknown id,
        which is ignored: it may have ended.

        No event of that sequence is produced afterwards.
        """

    def step(self) -> list[StepEvent]:
        """One batched decode for every active sequence, plus a slice of waiting prefill.

        Returns at once with nothing when no sequence is there; otherwise within the time of one
        bounded decode, so commands are never long in coming. A sequence's failure is an event.
        Raises EngineError only when the whole model is unusable; the worker then exits.
        """

    def embed(
        self, inputs: Sequence[Sequence[int]], dimensions: int | None = None
    ) -> list[list[float]]:
        """One unit-length vector per input, each a list of token ids.

        `dimensions`: the first so many numbers, at unit length again; good vectors if the model was
        trained that way (Matryoshka, arXiv:2205.13147). Default: `info.embedding_length`.
        Raises UnsupportedParameter when the model is no embedding model or a reranker,
        ContextOverflow when an input is longer than the context, InvalidParameter when one is
        empty or holds an id outside the vocabulary, and for more dimensions than there are.
        """

    def tokenize_pair(self, query: str, document: str) -> list[int]:
        """The token ids of a query and a document, as `score` takes them. Callable from any thread.

        Raises UnsupportedParameter when the model is no reranker, InvalidParameter for a lone
        surrogate.
        """

    def score(self, pairs: Sequence[Sequence[int]]) -> list[float]:
        """How well each document fits its query: higher is better, the model's own scale.

        Raises what `embed` raises, and UnsupportedParameter when the model is no reranker.
        """

    def usage(self) -> EngineUsage:
        """What it holds and has done so far."""

    def rest(self) -> bool:
        """A moment of idleness: do one bounded piece of housekeeping. Whether more is left."""

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
        attachments: Attachments = NO_ATTACHMENTS,
    ) -> LoadedModel:
        """Load `path`. `on_progress` receives 0.0 to 1.0, from the calling thread; what it raises
        ends the load and is raised here. `config.threads` bounds `threads`, now and later.

        Raises EngineMissing (package not installed), ModelInvalid (file refused), SettingRefused
        (this build or model cannot do what `config` says), LoadFailed (anything else).
        """
