"""OpenAI's rows of the route table."""

from __future__ import annotations

from typing import Any

import msgspec

from lmrun.api.extension import Extension
from lmrun.api.openai.answers.bodies import (
    ChatCompletion,
    ChatCompletionChunk,
    Completion,
    Model,
    ModelList,
)
from lmrun.api.openai.embeddings import (
    EmbeddingList,
    EmbeddingRequest,
    make_embedding_handler,
)
from lmrun.api.openai.generate import make_chat_handler, make_completion_handler
from lmrun.api.openai.models import make_get_handler, make_list_handler
from lmrun.api.openai.requests import ChatRequest, CompletionRequest, TemplateRequest
from lmrun.api.openai.template import TemplateAnswer, make_template_handler
from lmrun.api.routes import Response, Route
from lmrun.api.serving import GENERATION_ERRORS, LEASE_ERRORS, Pool
from lmrun.errors import (
    ContextOverflow,
    ModelNotFound,
)

_SSE = "text/event-stream"
_DONE = "[DONE]"
_CHUNKS = "its chunks with `stream: true`"


def make_openai_routes(pool: Pool) -> tuple[Route, ...]:
    """All of them, answering from `pool`."""
    return (
        Route(
            "GET",
            "/v1/models",
            make_list_handler(pool),
            "The models that answer requests",
            responses={200: (Response("The list", ModelList),)},
        ),
        Route(
            "GET",
            "/v1/models/{id:path}",
            make_get_handler(pool),
            "One model",
            responses={200: (Response("The model", Model),)},
            errors=(ModelNotFound,),
        ),
        *make_generation_routes(pool, "/v1"),
        Route(
            "POST",
            "/apply-template",
            make_template_handler(pool),
            "Show the prompt that a conversation becomes",
            request=TemplateRequest,
            responses={200: (Response("The prompt", TemplateAnswer),)},
            errors=GENERATION_ERRORS,
        ),
    )


def make_generation_routes(
    pool: Pool, prefix: str, extension: Extension | None = None
) -> tuple[Route, ...]:
    """The rows below `prefix` that use a model, with what `extension` adds to their answers."""
    # OpenAI has one type for a completion and its chunks, and so have others.
    completion = _extend(Completion, extension, is_chunk=True)
    return (
        Route(
            "POST",
            f"{prefix}/chat/completions",
            make_chat_handler(pool, extension),
            "Answer a conversation",
            request=ChatRequest,
            responses={
                200: (
                    Response("The answer", _extend(ChatCompletion, extension)),
                    Response(
                        _CHUNKS, _extend(ChatCompletionChunk, extension, is_chunk=True), _SSE, _DONE
                    ),
                )
            },
            errors=GENERATION_ERRORS,
        ),
        Route(
            "POST",
            f"{prefix}/completions",
            make_completion_handler(pool, extension),
            "Continue a text, without a template",
            request=CompletionRequest,
            responses={
                200: (
                    Response("The text", completion),
                    Response(_CHUNKS, completion, _SSE, _DONE),
                )
            },
            errors=GENERATION_ERRORS,
        ),
        Route(
            "POST",
            f"{prefix}/embeddings",
            make_embedding_handler(pool),
            "Make vectors of texts",
            request=EmbeddingRequest,
            responses={200: (Response("The vectors", EmbeddingList),)},
            errors=(*LEASE_ERRORS, ContextOverflow),
        ),
    )


def _extend(
    answer: type[msgspec.Struct], extension: Extension | None, *, is_chunk: bool = False
) -> Any:
    return answer if extension is None else extension.extend(answer, is_chunk=is_chunk)
