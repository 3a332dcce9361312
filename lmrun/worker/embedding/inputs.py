"""From texts to the token ids that an embedding model or a reranker takes. It computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lmrun.engines.base import ModelInfo
from lmrun.errors import ContextOverflow, InvalidParameter
from lmrun.worker.embedding.jobs import Job
from lmrun.worker.frames import Embed, Score


class Tokenizer(Protocol):
    """The part of a loaded model that may be used from any thread."""

    @property
    def info(self) -> ModelInfo: ...

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]: ...

    def count_at_least(self, text: str) -> int: ...

    def tokenize_pair(self, query: str, document: str) -> list[int]: ...


def make_job(model: Tokenizer, wanted: Embed | Score) -> Job:
    """What is to be computed, each input fit for the model.

    Texts get the special tokens that the model wants; token ids are taken as they are. Raises
    InvalidParameter and ContextOverflow, whose `param` says which input is wrong, and what
    `tokenize_pair` raises.
    """
    if isinstance(wanted, Score):
        for index, text in enumerate(wanted.documents):
            _require_room(model, wanted.query + text, f"documents[{index}]")
        pairs = [model.tokenize_pair(wanted.query, text) for text in wanted.documents]
        _require_fitting(model.info, pairs, "documents")
        return Job(wanted.id, tuple(map(tuple, pairs)), scores=True)
    for index, given in enumerate(wanted.inputs):
        if isinstance(given, str):
            _require_room(model, given, f"input[{index}]")
    inputs = [
        model.tokenize(given, add_special=True, parse_special=False)
        if isinstance(given, str)
        else given
        for given in wanted.inputs
    ]
    _require_fitting(model.info, inputs, "input")
    return Job(wanted.id, tuple(map(tuple, inputs)), dimensions=wanted.dimensions)


def _require_room(model: Tokenizer, text: str, where: str) -> None:
    """Raises ContextOverflow for a text that is far too long, before it is tokenised: other
    requests wait meanwhile."""
    if len(text) <= model.info.context_length:
        return
    tokens = model.count_at_least(text)
    if tokens > model.info.context_length:
        raise _make_overflow(where, f"at least {tokens}", model.info)


def _make_overflow(where: str, tokens: str, info: ModelInfo) -> ContextOverflow:
    return ContextOverflow(
        f"{where}: it has {tokens} tokens, the model takes {info.context_length}.",
        param=where,
        hint="Split it into shorter ones.",
    )


def _require_fitting(info: ModelInfo, inputs: Sequence[Sequence[int]], name: str) -> None:
    if not inputs:
        raise InvalidParameter(f"{name}: it is empty.", param=name)
    for index, tokens in enumerate(inputs):
        where = f"{name}[{index}]"
        if not tokens:
            raise InvalidParameter(f"{where}: it holds no token.", param=where)
        if len(tokens) > info.context_length:
            raise _make_overflow(where, str(len(tokens)), info)
        wrong = next((token for token in tokens if not 0 <= token < info.vocab_size), None)
        if wrong is not None:
            raise InvalidParameter(
                f"{where}: the vocabulary has no token {wrong}.",
                param=where,
                hint=f"Token ids go from 0 to {info.vocab_size - 1}.",
            )
