"""Documents sorted by how well they fit a query. It knows no generation."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET
from starlette.types import ASGIApp

from lmrun.api.llama_server.answers import (
    RankedDocument,
    RerankAnswer,
    RerankResult,
    RerankUsage,
)
from lmrun.api.llama_server.requests import RerankRequest
from lmrun.api.prompt_limits import check_text
from lmrun.api.routes import Call, Handler
from lmrun.api.serving import Instance, Pool
from lmrun.api.sse import JsonAnswer
from lmrun.api.validate import validate_request
from lmrun.errors import UnsupportedParameter


def make_rerank_handler(pool: Pool) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        request = validate_request(RerankRequest, call.json)
        check_size(request)
        async with pool.acquire(request.model) as lease:
            require_reranker(lease.instance)
            scores = await lease.score(request.query, request.documents)
            identifier = lease.instance.spec.identifier
        results = rank(scores.values, request)
        usage = RerankUsage(scores.prompt_tokens, scores.prompt_tokens)
        return JsonAnswer(RerankAnswer(identifier, results, usage))

    return answer


def check_size(request: RerankRequest) -> None:
    """Raises BodyTooLarge; the query counts once for each document, as it is read with each."""
    size_bytes = len(request.query.encode()) * len(request.documents)
    check_text(size_bytes + sum(len(text.encode()) for text in request.documents))


def require_reranker(instance: Instance) -> None:
    """Raises UnsupportedParameter, before anything goes on its way to another kind of model."""
    info = instance.info
    if info is not None and info.pooling != "rank":
        raise UnsupportedParameter(
            f"The model {instance.spec.identifier!r} is no reranker: it scores no documents.",
            param="model",
            hint="Name a reranker, or compare embeddings.",
        )


def rank(scores: Sequence[float], request: RerankRequest) -> tuple[RerankResult, ...]:
    """The best first; of equal ones, the earlier document."""
    best = sorted(range(len(scores)), key=lambda index: -scores[index])[: request.top_n]
    return tuple(
        RerankResult(
            index,
            scores[index],
            RankedDocument(request.documents[index]) if request.return_documents else UNSET,
        )
        for index in best
    )
