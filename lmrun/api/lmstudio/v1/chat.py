"""/api/v1/chat: one turn of a chat that the server remembers. It knows no HTTP header."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import (
    AbstractAsyncContextManager,
    aclosing,
    asynccontextmanager,
    nullcontext,
)
from dataclasses import replace

import msgspec
from starlette.types import ASGIApp

from lmrun.api.acting.kit import Kit
from lmrun.api.acting.rounds import Notebook, is_beginning
from lmrun.api.errors import ErrorBody
from lmrun.api.generation import ended_early, require_sight
from lmrun.api.lmstudio.house import Chats, House
from lmrun.api.lmstudio.timing import RoundsTiming
from lmrun.api.lmstudio.v1.acting import open_kit, run_chat
from lmrun.api.lmstudio.v1.calls import ProviderInfo
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
from lmrun.api.serving import Instance, Lease
from lmrun.api.sse import JsonAnswer, open_stream
from lmrun.api.validate import validate_request
from lmrun.chat.events import Event
from lmrun.chat.language import read_language
from lmrun.chat.request import Request
from lmrun.errors import BodyTooLarge, InvalidParameter, RequestError
from lmrun.store.conversations import Turn
from lmrun.tools.act.events import ActEvent


def make_chat_handler(house: House) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        request = validate_request(ChatRequestV1, call.json)
        history = await _read_history(house.conversations, request.previous_response_id)
        chat = Chat(house, request, history)
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

    def __init__(self, house: House, request: ChatRequestV1, history: History) -> None:
        self._house = house
        self._request = request
        self._history = history
        self._prompt = to_request(request, history)
        self._transcript = Transcript()
        self._sections = Sections(self._transcript)
        self._timing = RoundsTiming()
        self._notebook = Notebook()
        self._load_s: float | None = None
        self._instance_id = ""

    async def run(self) -> AsyncGenerator[list[StreamEvent], None]:
        """The stream's events, by when they come. Raises what the pool, the lease and the tools
        raise, in terms of the request's fields."""
        async with self._acquire() as lease, self._open_tools() as kit:
            self._transcript.kit = kit
            begin = self._begin(lease.instance)
            async with aclosing(self._generate(lease, kit)) as events:
                async for event in events:
                    if is_beginning(event):
                        continue
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

    def _open_tools(self) -> AbstractAsyncContextManager[Kit[ProviderInfo] | None]:
        integrations = self._request.integrations
        return open_kit(self._house.workshop, integrations) if integrations else nullcontext()

    def _generate(
        self, lease: Lease, kit: Kit[ProviderInfo] | None
    ) -> AsyncGenerator[Event, None] | AsyncGenerator[ActEvent, None]:
        prompt = fit(lease.instance, self._request, self._prompt)
        prediction = to_prediction(self._request)
        if kit is None:
            return lease.generate(prompt, prediction)
        return run_chat(self._house.workshop, lease, kit, prompt, prediction, self._notebook)

    def show_failure(self, body: ErrorBody) -> bytes:
        """The end of a stream that fails halfway: why, and what there is of the answer."""
        result = self._make_result(None)
        events = [*self._sections.close(), Failure(to_error(body)), ChatDone(result)]
        return b"".join(map(to_sse, events))

    @asynccontextmanager
    async def _acquire(self) -> AsyncIterator[Lease]:
        """A lease; errors inside name the request's fields."""
        asked_s = time.monotonic()
        pool = self._house.pool
        ready = {name for name, it in pool.instances.items() if it.state == "ready"}
        try:
            async with pool.acquire(self._request.model) as lease:
                now_s = time.monotonic()
                self._timing.start(now_s)
                self._instance_id = lease.instance.spec.identifier
                if self._instance_id not in ready:
                    self._load_s = now_s - asked_s
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
            await asyncio.to_thread(self._house.conversations.add, KIND, self._to_turn(id))
            result = msgspec.structs.replace(result, response_id=id)
        failures = map(to_failure, self._transcript.invalid_calls)
        return [*self._sections.close(), *failures, ChatDone(result)]

    def _make_result(self, reasoning_tokens: int | None) -> ChatResult:
        stats = make_stats(self._transcript, self._timing, reasoning_tokens, self._load_s)
        return ChatResult(self._instance_id, self._transcript.output, stats)

    def _to_turn(self, id: str) -> Turn:
        asked = to_user_message(self._request.input)
        done = self._notebook.transcript.messages or (self._transcript.to_message(),)
        content = to_content(self._request.system_prompt, (asked, *done))
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
