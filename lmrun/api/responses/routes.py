"""The rows of the Responses API in the route table."""

from __future__ import annotations

from lmrun.api.acting.errors import TOOL_ERRORS
from lmrun.api.acting.workshop import EmptyWorkshop, Workshop
from lmrun.api.errors import ResponseNotFound
from lmrun.api.responses.answers.bodies import Deleted, InputTokens, ItemList, ResponseBody
from lmrun.api.responses.answers.events import AnyEvent
from lmrun.api.responses.generate import (
    Means,
    make_input_tokens_handler,
    make_response_handler,
)
from lmrun.api.responses.lookup import (
    LIST_QUERY,
    READ_QUERY,
    make_cancel_handler,
    make_delete_handler,
    make_get_handler,
    make_items_handler,
)
from lmrun.api.responses.requests.bodies import InputTokensRequest, ResponseRequest
from lmrun.api.responses.turns import PreviousResponseNotFound
from lmrun.api.routes import Response, Route
from lmrun.api.serving import GENERATION_ERRORS, STORE_ERRORS, Pool
from lmrun.errors import (
    BodyTooLarge,
    LmrunError,
    RequestError,
)
from lmrun.store.conversations import Conversations

_LOOKUP_ERRORS: tuple[type[LmrunError], ...] = (*STORE_ERRORS, ResponseNotFound)


def make_responses_routes(
    pool: Pool, conversations: Conversations, workshop: Workshop | None = None
) -> tuple[Route, ...]:
    """All of them, answering from `pool` with the tools of `workshop`, and keeping what they answer
    in `conversations`."""
    means = Means(pool, conversations, workshop or EmptyWorkshop())
    return (*_make_prompt_routes(means), *_make_lookup_routes(conversations))


def _make_prompt_routes(means: Means) -> tuple[Route, ...]:
    return (
        Route(
            "POST",
            "/v1/responses",
            make_response_handler(means),
            "Answer a conversation, or continue a stored one",
            request=ResponseRequest,
            responses={
                200: (
                    Response("The response", ResponseBody),
                    Response("its events with `stream: true`", AnyEvent, "text/event-stream"),
                )
            },
            errors=(*GENERATION_ERRORS, *TOOL_ERRORS, *STORE_ERRORS, PreviousResponseNotFound),
        ),
        Route(
            "POST",
            "/v1/responses/input_tokens",
            make_input_tokens_handler(means),
            "How many tokens a prompt has",
            request=InputTokensRequest,
            responses={200: (Response("The number", InputTokens),)},
            errors=(*GENERATION_ERRORS, *TOOL_ERRORS, *STORE_ERRORS, PreviousResponseNotFound),
        ),
    )


def _make_lookup_routes(conversations: Conversations) -> tuple[Route, ...]:
    path = "/v1/responses/{id}"
    return (
        Route(
            "GET",
            path,
            make_get_handler(conversations),
            "A stored response",
            query=READ_QUERY,
            responses={200: (Response("The response", ResponseBody),)},
            errors=_LOOKUP_ERRORS,
        ),
        Route(
            "DELETE",
            path,
            make_delete_handler(conversations),
            "Forget a stored response",
            responses={200: (Response("It is gone", Deleted),)},
            errors=_LOOKUP_ERRORS,
        ),
        Route(
            "GET",
            f"{path}/input_items",
            make_items_handler(conversations),
            "What a stored response answers: all items before it",
            query=LIST_QUERY,
            responses={200: (Response("A page of items", ItemList),)},
            errors=(*_LOOKUP_ERRORS, BodyTooLarge, PreviousResponseNotFound),
        ),
        Route(
            "POST",
            f"{path}/cancel",
            make_cancel_handler(conversations),
            "Refused: nothing runs in the background",
            errors=(*_LOOKUP_ERRORS, RequestError),
        ),
    )
