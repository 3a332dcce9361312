"""llama-server's rows of the route table, with its aliases."""

from __future__ import annotations

from lmrun.api.llama_server.answers import Detokenized, RerankAnswer, Tokenized
from lmrun.api.llama_server.requests import DetokenizeRequest, RerankRequest, TokenizeRequest
from lmrun.api.llama_server.rerank import make_rerank_handler
from lmrun.api.llama_server.tokens import make_detokenize_handler, make_tokenize_handler
from lmrun.api.routes import Response, Route
from lmrun.api.serving import LEASE_ERRORS, Pool
from lmrun.errors import (
    ContextOverflow,
)

RERANK_PATHS = ("/v1/rerank", "/rerank", "/v1/reranking", "/reranking")


def make_llama_server_routes(pool: Pool) -> tuple[Route, ...]:
    """All of them, answering from `pool`."""
    return (
        *(_make_rerank_route(pool, path) for path in RERANK_PATHS),
        Route(
            "POST",
            "/tokenize",
            make_tokenize_handler(pool),
            "Make tokens of a text",
            request=TokenizeRequest,
            responses={200: (Response("The token ids", Tokenized),)},
            errors=LEASE_ERRORS,
        ),
        Route(
            "POST",
            "/detokenize",
            make_detokenize_handler(pool),
            "Make a text of tokens",
            request=DetokenizeRequest,
            responses={200: (Response("The text", Detokenized),)},
            errors=LEASE_ERRORS,
        ),
    )


def _make_rerank_route(pool: Pool, path: str) -> Route:
    return Route(
        "POST",
        path,
        make_rerank_handler(pool),
        "Sort documents by how well they fit a query",
        request=RerankRequest,
        responses={200: (Response("The documents, best first", RerankAnswer),)},
        errors=(*LEASE_ERRORS, ContextOverflow),
    )
