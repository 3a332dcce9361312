"""/api/v1/chat: one turn of a chat that the server remembers. It knows no HTTP header."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import msgspec
from starlette.types import ASGIApp

from lmrun.api.errors import ErrorBody
from lmrun.api.generation import ended_early, require_sight
from lmrun.api.lmstudio.house import Chats, House
from lmrun.api.lmstudio.timing import Timing
from lmrun.api.lmstudio.v1.convert import to_field, to_prediction, to_request, to_user_message
from lmrun.api.lmstudio.v1.envelope import to_error
from lmrun.api.lmstudio.v1.events import (
    ChatDone,
    ChatStart,
    Failure,
    ModelLoadEnd,
    ModelLoadStart,
    Sections,
    StreamEvent,
    to_failure,
    to_sse,
)
from lmrun.api.lmstudio.v1.output import ChatResult, Transcript, make_stats
from lmrun.api.lmstudio.v1.reasoning import to_thinking
from lmrun.api.lmstudio.v1.requests import ChatRequestV1
from lmrun.api.lmstudio.v1.turns import KIND, MAX_BYTES, History, to_content, to_history
from lmrun.api.routes import Call, Handler
from lmrun.api.serving import Instance, Lease, Pool
from lmrun.api.sse import JsonAnswer, open_stream
from lmrun.api.validate import validate_request
from lmrun.chat.language import read_language
from lmrun.chat.request import Request
from lmrun.errors import BodyTooLarge, InvalidParameter, RequestError
from lmrun.store.conversations import Turn


def make_chat_handler(house: House) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        request = validate_request(ChatRequestV1, call.json)
        history = await _read_history(house.conversations, request.previous_response_id)
        chat = Chat(house.pool, house.conversations, request, history)
        if request.stream:
            return await open_stream(_stream(chat), chat.show_failure)
        return JsonAnswer(await _fold(chat))

    return answer


async def _read_history(chats: Chats, id: str | None) -> History:
    if id is None:
        return History()
    if await asyncio.to_thread(chats.measure, KIND, id) > MAX_BYTES:
        raise BodyTooLarge(f"The chat of {id!r} has grown to more than {MAX_BYTES} bytes.")
    return to_history(await asyncio.to_thread(chats.read_chain, KIND, id), id)


async def _stream(chat: Chat) -> AsyncGenerator[bytes, None]:
    """What comes at one moment is one chunk; the first comes with the first event."""
    async with aclosing(chat.run()) as moments:
        async for events in moments:
            yield b"".join(map(to_sse, events))


async def _fold(chat: Chat) -> ChatResult:
    """The same events; the last one holds everything."""
    async with aclosing(chat.run()) as moments:
        async for events in moments:
            if isinstance(events[-1], ChatDone):
                return events[-1].result
    raise ended_early()


class Chat:
    """One turn: asked, answered, kept."""

    def __init__(self, pool: Pool, chats: Chats, request: ChatRequestV1, history: History) -> None:
        self._pool = pool
        self._chats = chats
        self._request = request
        self._history = history
        self._prompt = to_request(request, history)
        self._transcript = Transcript()
        self._sections = Sections()
        self._timing = Timing(0.0)
        self._load_s: float | None = None
        self._instance_id = ""

    async def run(self) -> AsyncGenerator[list[StreamEvent], None]:
        """The stream's events, by when they come. Raises what the pool and the lease raise, in
        terms of the request's fields."""
        async with self._acquire() as lease:
            begin = self._begin(lease.instance)
            prompt = fit(lease.instance, self._request, self._prompt)
            events = lease.generate(prompt, to_prediction(self._request))
            async with aclosing(events):
                async for event in events:
                    self._timing.note(event, time.monotonic())
                    self._transcript.take(event)
                    told = [*begin, *self._sections.take(event)]
                    begin = []
                    if self._transcript.end is not None:
                        yield [*told, *await self._finish(lease)]
                        return
                    if told:
                        yield told
        raise ended_early()

    def show_failure(self, body: ErrorBody) -> bytes:
        """The end of a stream that fails halfway: why, and what there is of the answer."""
        result = self._make_result(None)
        events = [*self._sections.close(), Failure(to_error(body)), ChatDone(result)]
        return b"".join(map(to_sse, events))

    @asynccontextmanager
    async def _acquire(self) -> AsyncIterator[Lease]:
        """A lease; errors inside name the request's fields."""
        asked_s = time.monotonic()
        ready = {name for name, it in self._pool.instances.items() if it.state == "ready"}
        try:
            async with self._pool.acquire(self._request.model) as lease:
                self._timing.started_s = time.monotonic()
                self._instance_id = lease.instance.spec.identifier
                if self._instance_id not in ready:
                    self._load_s = self._timing.started_s - asked_s
                yield lease
        except RequestError as error:
            if error.param is not None:
                error.param = to_field(self._request, self._history, error.param)
            raise

    def _begin(self, instance: Instance) -> list[StreamEvent]:
        name = instance.spec.identifier
        if self._load_s is None:
            return [ChatStart(name)]
        return [ChatStart(name), ModelLoadStart(name), ModelLoadEnd(name, self._load_s)]

    async def _finish(self, lease: Lease) -> list[StreamEvent]:
        reasoning, tokens = self._transcript.reasoning, 0
        if reasoning:
            found = await lease.tokenize(
                reasoning, add_special=False, parse_special=True, with_pieces=False
            )
            tokens = len(found.ids)
        result = self._make_result(tokens)
        if self._request.store:
            id = f"resp_{secrets.token_hex(24)}"
            await asyncio.to_thread(self._chats.add, KIND, self._to_turn(id))
            result = msgspec.structs.replace(result, response_id=id)
        failures = map(to_failure, self._transcript.invalid_calls)
        return [*self._sections.close(), *failures, ChatDone(result)]

    def _make_result(self, reasoning_tokens: int | None) -> ChatResult:
        stats = make_stats(self._transcript, self._timing, reasoning_tokens, self._load_s)
        return ChatResult(self._instance_id, self._transcript.output, stats)

    def _to_turn(self, id: str) -> Turn:
        said = (to_user_message(self._request.input), self._transcript.to_message())
        content = to_content(self._request.system_prompt, said)
        return Turn(id, self._request.previous_response_id, content)


def fit(instance: Instance, request: ChatRequestV1, prompt: Request) -> Request:
    """The prompt as this instance is told it. Raises UnsupportedParameter for what the model
    cannot do, InvalidParameter for more context than it was loaded with."""
    require_sight(instance, prompt)
    info = instance.info
    assert info is not None, "it is loaded"
    if request.context_length is not None and request.context_length > info.context_length:
        raise InvalidParameter(
            f"`context_length`: {instance.spec.identifier!r} was loaded with {info.context_length} "
            "tokens.",
            param="context_length",
            hint="POST /api/v1/models/load loads an instance with more.",
        )
    language = read_language(info.chat_template)
    return replace(prompt, thinking=to_thinking(request.reasoning, language))
