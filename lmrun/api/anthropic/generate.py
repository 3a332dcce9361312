"""The two endpoints: a lease, the events of a generation or a count, the answer."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from starlette.types import ASGIApp

from lmrun.api.anthropic.answers.bodies import Message, TokenCount
from lmrun.api.anthropic.answers.formats import MessageStream, Style, WholeMessage
from lmrun.api.anthropic.convert import (
    Asked,
    add_thinking,
    to_parameter,
    to_prediction,
    to_request,
    to_structured,
)
from lmrun.api.anthropic.envelope import make_last_event
from lmrun.api.anthropic.requests import CountRequest, MessagesRequest, PromptRequest
from lmrun.api.anthropic.thinking import hides_thoughts
from lmrun.api.anthropic.tools import find_held
from lmrun.api.generation import ended_early, require_sight
from lmrun.api.routes import Call, Handler
from lmrun.api.serving import Instance, Lease, Pool
from lmrun.api.sse import JsonAnswer, open_stream
from lmrun.api.validate import validate_request
from lmrun.chat.events import ChatEnd, Event
from lmrun.chat.language import read_language
from lmrun.chat.request import Request
from lmrun.errors import InvalidParameter, RequestError
from lmrun.settings.prediction import PredictionConfig


def make_messages_handler(pool: Pool) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        check_query(call)
        request = validate_request(MessagesRequest, call.json)
        asked, prediction = to_request(request), to_prediction(request)
        if request.stream:
            events = _stream(pool, request, asked, prediction)
            return await open_stream(events, make_last_event(call.request_id))
        return JsonAnswer(await _fold(pool, request, asked, prediction))

    return answer


def make_count_handler(pool: Pool) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        check_query(call)
        request = validate_request(CountRequest, call.json)
        asked = to_request(request)
        # It changes no prompt, but what is wrong about it is told as it would be by a message.
        to_structured(request)
        async with _acquire(pool, request, asked) as (lease, prompt):
            return JsonAnswer(TokenCount(await lease.count_tokens(prompt)))

    return answer


def check_query(call: Call) -> None:
    """Clients send `?beta=true` with parameters of the beta, which are known without it, too.

    Raises InvalidParameter for another value.
    """
    if call.query.get("beta", "true") != "true":
        raise InvalidParameter("`beta` takes only `true`, or is left out.", param="beta")


async def _stream(
    pool: Pool, request: MessagesRequest, asked: Asked, prediction: PredictionConfig
) -> AsyncGenerator[bytes, None]:
    """The events' bytes; the first come with the generation's first event, of whatever kind."""
    async with _run(pool, request, asked, prediction) as (instance, events):
        stream = MessageStream(_make_id(), instance.spec.identifier, _read_style(request))
        async for event in events:
            if written := stream.take(event):
                yield written
            if isinstance(event, ChatEnd):
                return
    raise ended_early()


async def _fold(
    pool: Pool, request: MessagesRequest, asked: Asked, prediction: PredictionConfig
) -> Message:
    """The same events, as one message."""
    async with _run(pool, request, asked, prediction) as (instance, events):
        whole = WholeMessage(_make_id(), instance.spec.identifier, _read_style(request))
        async for event in events:
            whole.take(event)
    message = whole.finish()
    if message is None:
        raise ended_early()
    return message


@asynccontextmanager
async def _run(
    pool: Pool, request: MessagesRequest, asked: Asked, prediction: PredictionConfig
) -> AsyncIterator[tuple[Instance, AsyncGenerator[Event, None]]]:
    async with (
        _acquire(pool, request, asked) as (lease, prompt),
        aclosing(lease.generate(prompt, prediction)) as events,
    ):
        yield lease.instance, events


@asynccontextmanager
async def _acquire(
    pool: Pool, request: PromptRequest, asked: Asked
) -> AsyncIterator[tuple[Lease, Request]]:
    """A lease, and the prompt in the language of its model. Errors name Anthropic's parameters."""
    try:
        async with pool.acquire(request.model) as lease:
            require_sight(lease.instance, asked.prompt)
            info = lease.instance.info
            language = read_language(info.chat_template if info is not None else None)
            yield lease, add_thinking(asked.prompt, request, language)
    except RequestError as error:
        if error.param is not None:
            error.param = to_parameter(error.param, request, asked)
        raise


def _read_style(request: MessagesRequest) -> Style:
    return Style(
        request.stop_sequences or (),
        find_held(request.tools or ()),
        hides_thoughts(request.thinking),
    )


def _make_id() -> str:
    return f"msg_{secrets.token_hex(12)}"
