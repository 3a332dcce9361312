"""The scripted engine's tokens: one per byte of a prompt, one per piece of a reply."""

from __future__ import annotations

from collections.abc import Sequence

from lmrun.engines.scripted.script import Reply, Script
from lmrun.errors import InvalidParameter

BYTE_TOKENS = 256


def piece_bytes(reply: Reply) -> list[bytes]:
    """The pieces of one round of `reply`."""
    return [
        piece.encode() if isinstance(piece, str) else bytes.fromhex(piece.hex)
        for piece in reply.pieces
    ]


class Vocabulary:
    """Tokens 0 to 255 are bytes, the rest are the distinct pieces. No token is special."""

    def __init__(self, script: Script) -> None:
        rounds = [piece_bytes(reply) for reply in script.replies]
        distinct = list(dict.fromkeys(piece for pieces in rounds for piece in pieces))
        ids = {piece: BYTE_TOKENS + index for index, piece in enumerate(distinct)}
        self.pieces = [bytes([byte]) for byte in range(BYTE_TOKENS)] + distinct
        self.size = len(self.pieces)
        self.replies = [[ids[piece] for piece in pieces] for pieces in rounds]

    def tokenize(self, text: str) -> list[int]:
        """One token per UTF-8 byte. Raises InvalidParameter for a lone surrogate."""
        try:
            return list(text.encode())
        except UnicodeEncodeError as error:
            raise InvalidParameter(
                f"The text holds a lone surrogate at character {error.start}.", param="prompt"
            ) from None

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        self.require_known(tokens, "tokens")
        return b"".join(self.pieces[token] for token in tokens)

    def require_known(self, tokens: Sequence[int], param: str) -> None:
        """Raises InvalidParameter for an id outside the vocabulary."""
        wrong = next((token for token in tokens if not 0 <= token < self.size), None)
        if wrong is not None:
            raise InvalidParameter(
                f"{param}: the vocabulary has no token {wrong}.",
                param=param,
                hint=f"Token ids go from 0 to {self.size - 1}.",
            )
