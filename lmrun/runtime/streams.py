"""The streams of one worker: from its frames to an iterator of events per sequence, or to an
answer in one piece.

They know no process: frames are handed in, and `send` takes what goes out.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from lmrun.chat.events import ChatEnd, WorkerEvent
from lmrun.chat.messages import Prompt
from lmrun.errors import BodyTooLarge, InvalidParameter, LmrunError
from lmrun.runtime.answers.events import EventStream
from lmrun.runtime.answers.replies import ReplyStream, ReplyT
from lmrun.runtime.answers.vectors import Scores, Vectors, VectorStream
from lmrun.settings.prediction import PredictionConfig
from lmrun.worker.frames import (
    Cancel,
    Detokenize,
    Detokenized,
    Embed,
    Embedded,
    Generate,
    PromptReport,
    Question,
    Render,
    Rendered,
    Reply,
    Score,
    SequenceEvents,
    Step,
    Tokenize,
    Tokenized,
    ToWorker,
)
from lmrun.worker.wire_errors import from_wire

Input = str | Sequence[int]
"""What is embedded: a text, or token ids."""

_Stream = EventStream | VectorStream | ReplyStream[Any]


class Streams:
    """All open streams of one worker. `on_activity`: the first one opens, or the last one ends."""

    def __init__(self, send: Callable[[ToWorker], None], on_activity: Callable[[], None]) -> None:
        self._send = send
        self._on_activity = on_activity
        self._open: dict[int, _Stream] = {}
        self._ids = itertools.count(1)
        self._refusal: Callable[[], LmrunError] | None = None

    def __len__(self) -> int:
        return len(self._open)

    async def generate(
        self,
        prompt: Prompt,
        prediction: PredictionConfig,
        draft_model: str | None = None,
        *,
        reveals_special: bool = False,
        reports_prompt: PromptReport = "nothing",
    ) -> AsyncGenerator[WorkerEvent, None]:
        """The events of a new sequence. Closing this iterator is the one way to cancel it.

        Raises the error that ended the sequence, and BodyTooLarge or InvalidParameter for a
        prompt that cannot be sent.
        """
        sequence, stream = next(self._ids), EventStream()
        config = prediction.model_dump(exclude_unset=True)
        frame = Generate(sequence, prompt, config, draft_model, reveals_special, reports_prompt)
        self._start(frame, stream)
        try:
            while True:
                event = await stream.next()
                if isinstance(event, ChatEnd):
                    # The text of others that ended in the same frame goes before our farewell.
                    await asyncio.sleep(0)
                    yield event
                    return
                yield event
        finally:
            self._cancel(sequence)

    async def embed(self, inputs: Sequence[Input], dimensions: int | None = None) -> Vectors:
        """A vector of each input. Cancelling this cancels it.

        Raises the error that ended it, and BodyTooLarge or InvalidParameter for what cannot be
        sent; `param` names the input, as `input[3]`.
        """
        given = tuple(each if isinstance(each, str) else tuple(each) for each in inputs)
        return await self._ask(Embed(next(self._ids), given, dimensions), len(given))

    async def score(self, query: str, documents: Sequence[str]) -> Scores:
        """How well each document fits `query`. Cancelling and errors are those of `embed`."""
        frame = Score(next(self._ids), query, tuple(documents))
        found = await self._ask(frame, len(frame.documents))
        return Scores(tuple(found.read(n)[0] for n in range(found.count)), found.prompt_tokens)

    async def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool, with_pieces: bool = False
    ) -> Tokenized:
        """The tokens of `text`. Cancelling this cancels it.

        Raises the error that ended it, and BodyTooLarge or InvalidParameter for what cannot be
        sent.
        """
        frame = Tokenize(next(self._ids), text, add_special, parse_special, with_pieces)
        return await self._inquire(frame, Tokenized)

    async def detokenize(self, tokens: Sequence[int]) -> bytes:
        """The text of `tokens`. Cancelling and errors are those of `tokenize`."""
        frame = Detokenize(next(self._ids), tuple(tokens))
        return (await self._inquire(frame, Detokenized)).text

    async def render(self, prompt: Prompt) -> Rendered:
        """What a prompt is to the model. Cancelling and errors are those of `tokenize`."""
        return await self._inquire(Render(next(self._ids), prompt), Rendered)

    def deliver(self, step: Step) -> None:
        """Hand out the events of a frame. Sequences that were cancelled are passed over."""
        for part in step.sequences:
            stream = self._open.get(part.id)
            if stream is not None:
                self._hand_out(stream, part)

    def deliver_vectors(self, part: Embedded) -> None:
        """Hand out a part of an answer, unless nobody waits for it any more."""
        stream = self._open.get(part.id)
        if isinstance(stream, VectorStream):
            stream.push(part)
            if part.is_last:
                self._end(part.id)

    def deliver_reply(self, reply: Reply) -> None:
        """Hand out an answer, unless nobody waits for it any more."""
        stream = self._open.get(reply.id)
        if isinstance(stream, ReplyStream):
            stream.push(reply)
            self._end(reply.id)

    def close(self, make_error: Callable[[], LmrunError]) -> None:
        """End every stream, each with an error of its own, and refuse new ones with it."""
        self._refusal = make_error
        for sequence, stream in list(self._open.items()):
            stream.fail(make_error())
            self._end(sequence)

    async def _ask(self, frame: Embed | Score, count: int) -> Vectors:
        stream = VectorStream(count)
        self._start(frame, stream)
        try:
            return await stream.whole()
        finally:
            self._cancel(frame.id)

    async def _inquire(self, frame: Question, kind: type[ReplyT]) -> ReplyT:
        stream = ReplyStream(kind)
        self._start(frame, stream)
        try:
            return await stream.whole()
        finally:
            self._cancel(frame.id)

    def _start(self, frame: Generate | Embed | Score | Question, stream: _Stream) -> None:
        if self._refusal is not None:
            raise self._refusal()
        self._open[frame.id] = stream
        if len(self._open) == 1:
            self._on_activity()
        what = "prompt" if isinstance(frame, Generate | Render) else "input"
        try:
            self._send(frame)
        except UnicodeEncodeError:
            self._end(frame.id)
            raise InvalidParameter(
                f"The {what} holds half a surrogate pair, which is no character."
            ) from None
        except ValueError as error:
            self._end(frame.id)
            raise BodyTooLarge(f"The {what} is too long: {error}.") from None

    def _cancel(self, sequence: int) -> None:
        """What has not ended yet."""
        if sequence in self._open:
            self._send(Cancel(sequence))
            self._end(sequence)

    def _hand_out(self, stream: _Stream, part: SequenceEvents) -> None:
        if part.events and isinstance(stream, EventStream):
            stream.push(part.events)
        if part.error is not None:
            stream.fail(from_wire(part.error))
        if part.error is not None or (part.events and isinstance(part.events[-1], ChatEnd)):
            self._end(part.id)

    def _end(self, sequence: int) -> None:
        del self._open[sequence]
        if not self._open:
            self._on_activity()
