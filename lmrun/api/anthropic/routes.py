"""Anthropic's rows of the route table.

The headers `anthropic-version` and `anthropic-beta` choose nothing: there is one notation here, and
what a beta adds is a parameter, which is known, or refused, without it.
"""

from __future__ import annotations

from lmrun.api.anthropic.answers.bodies import Message, StreamEvent, TokenCount
from lmrun.api.anthropic.envelope import ANTHROPIC, ThreadUnsupported
from lmrun.api.anthropic.generate import make_count_handler, make_messages_handler
from lmrun.api.anthropic.requests import CountRequest, MessagesRequest
from lmrun.api.routes import Response, Route
from lmrun.api.serving import GENERATION_ERRORS, Pool


def make_anthropic_routes(pool: Pool) -> tuple[Route, ...]:
    """All of them, answering from `pool`."""
    return (
        Route(
            "POST",
            "/v1/messages",
            make_messages_handler(pool),
            "Answer a conversation, Anthropic's way",
            request=MessagesRequest,
            query=("beta",),
            responses={
                200: (
                    Response("The message", Message),
                    Response("its events with `stream: true`", StreamEvent, "text/event-stream"),
                )
            },
            errors=(*GENERATION_ERRORS, ThreadUnsupported),
            envelope=ANTHROPIC,
        ),
        Route(
            "POST",
            "/v1/messages/count_tokens",
            make_count_handler(pool),
            "Count the tokens of a conversation's prompt",
            request=CountRequest,
            query=("beta",),
            responses={200: (Response("The count", TokenCount),)},
            errors=GENERATION_ERRORS,
            envelope=ANTHROPIC,
        ),
    )
