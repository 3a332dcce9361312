"""OpenAI's rows of the route table."""

from __future__ import annotations

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
from lmrun.api.openai.requests import ChatRequest, CompletionRequest
from lmrun.api.routes import Response, Route
from lmrun.api.serving import Pool
from lmrun.errors import (
    ContextOverflow,
    EngineCrashed,
    EngineError,
    EngineHung,
    LmrunError,
    ModelNotFound,
    ModelNotReady,
    QueueFull,
    TemplateFailed,
)

_SSE = "text/event-stream"
_DONE = "[DONE]"
_GENERATION_ERRORS: tuple[type[LmrunError], ...] = (
    ContextOverflow,
    EngineCrashed,
    EngineError,
    EngineHung,
    ModelNotFound,
    ModelNotReady,
    QueueFull,
    TemplateFailed,
)
_EMBEDDING_ERRORS = tuple(kind for kind in _GENERATION_ERRORS if kind is not TemplateFailed)


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
        Route(
            "POST",
            "/v1/chat/completions",
            make_chat_handler(pool),
            "Answer a conversation",
            request=ChatRequest,
            responses={
                200: (
                    Response("The answer", ChatCompletion),
                    Response("its chunks with `stream: true`", ChatCompletionChunk, _SSE, _DONE),
                )
            },
            errors=_GENERATION_ERRORS,
        ),
        Route(
            "POST",
            "/v1/completions",
            make_completion_handler(pool),
            "Continue a text, without a template",
            request=CompletionRequest,
            responses={
                200: (
                    Response("The text", Completion),
                    Response("its chunks with `stream: true`", Completion, _SSE, _DONE),
                )
            },
            errors=_GENERATION_ERRORS,
        ),
        Route(
            "POST",
            "/v1/embeddings",
            make_embedding_handler(pool),
            "Make vectors of texts",
            request=EmbeddingRequest,
            responses={200: (Response("The vectors", EmbeddingList),)},
            errors=_EMBEDDING_ERRORS,
        ),
    )
