"""Questions to a model's vocabulary and template: answered with values, nothing is generated.

It knows no thread and no socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lmrun.chat.messages import Conversation
from lmrun.errors import InvalidParameter
from lmrun.worker.frames import (
    Detokenize,
    Detokenized,
    Question,
    Render,
    Rendered,
    Reply,
    Tokenize,
    Tokenized,
)
from lmrun.worker.prompts import PromptMaker

MAX_ANSWER_TOKENS = 2**20
"""So many fit into a frame, with what they say."""
MAX_ANSWER_BYTES = 8 * 2**20


class Vocabulary(Protocol):
    """The part of a loaded model that may be used from any thread."""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]: ...

    def detokenize(self, tokens: Sequence[int]) -> bytes: ...


def answer(model: Vocabulary, prompts: PromptMaker, question: Question) -> Reply:
    """Raises InvalidParameter for tokens that the vocabulary does not have and for an answer that
    is too long for a frame, and what `PromptMaker.read` raises."""
    match question:
        case Tokenize():
            return _tokenize(model, question)
        case Detokenize(id, tokens):
            return Detokenized(id, _require_short(model.detokenize(tokens), "tokens"))
        case Render(id, prompt):
            read = prompts.read(prompt)
            text = read.text if isinstance(prompt, Conversation) else ""
            return Rendered(id, text, len(read.tokens))


def _tokenize(model: Vocabulary, question: Tokenize) -> Tokenized:
    tokens = model.tokenize(
        question.text, add_special=question.add_special, parse_special=question.parse_special
    )
    if len(tokens) > MAX_ANSWER_TOKENS:
        raise InvalidParameter(
            f"The text has {len(tokens)} tokens; at most {MAX_ANSWER_TOKENS} are listed.",
            param="content",
        )
    if not question.with_pieces:
        return Tokenized(question.id, tuple(tokens))
    known = {token: model.detokenize((token,)) for token in set(tokens)}
    pieces = tuple(known[token] for token in tokens)
    _require_short(b"".join(pieces), "content")
    return Tokenized(question.id, tuple(tokens), pieces)


def _require_short(text: bytes, param: str) -> bytes:
    if len(text) > MAX_ANSWER_BYTES:
        raise InvalidParameter(
            f"The tokens have {len(text)} bytes of text; at most {MAX_ANSWER_BYTES} are given.",
            param=param,
        )
    return text
