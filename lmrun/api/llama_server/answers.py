"""The bodies of llama-server's answers, as types."""

from __future__ import annotations

from typing import Literal

import msgspec


class TokenPiece(msgspec.Struct, frozen=True):
    """A token and what it says: text, or its bytes where they are part of a character."""

    id: int
    piece: str | list[int]


class Tokenized(msgspec.Struct, frozen=True):
    """`tokens`: ids alone, or with their pieces where those were asked for."""

    tokens: tuple[int | TokenPiece, ...]


class Detokenized(msgspec.Struct, frozen=True):
    """`content`: part of a character at its ends is U+FFFD."""

    content: str


class RankedDocument(msgspec.Struct, frozen=True):
    text: str


class RerankResult(msgspec.Struct, frozen=True):
    """`index`: of the document. `relevance_score`: higher is better, on the model's own scale.
    `document`: left out unless asked for."""

    index: int
    relevance_score: float
    document: RankedDocument | msgspec.UnsetType = msgspec.UNSET


class RerankUsage(msgspec.Struct, frozen=True):
    """Tokens of all pairs of query and document together."""

    prompt_tokens: int
    total_tokens: int


class RerankAnswer(msgspec.Struct, frozen=True):
    """`results`: best first."""

    model: str
    results: tuple[RerankResult, ...]
    usage: RerankUsage
    object: Literal["list"] = "list"
