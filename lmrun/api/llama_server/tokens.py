"""A text's tokens, and the text of tokens. It knows no template and no generation."""

from __future__ import annotations

from starlette.types import ASGIApp

from lmrun.api.llama_server.answers import Detokenized, Tokenized, TokenPiece
from lmrun.api.llama_server.requests import DetokenizeRequest, TokenizeRequest
from lmrun.api.routes import Call, Handler
from lmrun.api.serving import Pool
from lmrun.api.sse import JsonAnswer
from lmrun.api.validate import validate_request
from lmrun.errors import BodyTooLarge

MAX_CONTENT_BYTES = 2**20
MAX_CONTENT_BYTES_WITH_PIECES = 2**18
"""In UTF-8. A list of a million objects would hold up every other answer."""


def make_tokenize_handler(pool: Pool) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        request = validate_request(TokenizeRequest, call.json)
        _check_size(request)
        async with pool.acquire(request.model) as lease:
            found = await lease.tokenize(
                request.content,
                add_special=request.add_special,
                parse_special=request.parse_special,
                with_pieces=request.with_pieces,
            )
        if not request.with_pieces:
            return JsonAnswer(Tokenized(found.ids))
        pieces = zip(found.ids, found.pieces, strict=True)
        return JsonAnswer(Tokenized(tuple(TokenPiece(id, show_piece(text)) for id, text in pieces)))

    return answer


def make_detokenize_handler(pool: Pool) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        request = validate_request(DetokenizeRequest, call.json)
        async with pool.acquire(request.model) as lease:
            text = await lease.detokenize(request.tokens)
        return JsonAnswer(Detokenized(text.decode(errors="replace")))

    return answer


def show_piece(piece: bytes) -> str | list[int]:
    """As llama-server does: bytes, as numbers, where they are no text of their own."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


def _check_size(request: TokenizeRequest) -> None:
    """Raises BodyTooLarge."""
    size = len(request.content.encode())
    limit = MAX_CONTENT_BYTES_WITH_PIECES if request.with_pieces else MAX_CONTENT_BYTES
    if size > limit:
        how = " with `with_pieces`" if request.with_pieces else ""
        raise BodyTooLarge(
            f"`content`: it has {size} bytes; at most {limit} are taken{how}.",
            hint="Send it in several requests.",
        )
