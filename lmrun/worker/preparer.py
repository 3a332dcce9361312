"""Prompts are prepared on a thread of their own: neither template nor tokenizer delays a step.

It knows no socket and adds nothing to the engine.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from lmrun.chat.events import PromptText
from lmrun.engines.base import SequenceSpec
from lmrun.errors import LmrunError
from lmrun.worker.embedding.inputs import make_job
from lmrun.worker.embedding.jobs import Job
from lmrun.worker.frames import Embed, Generate, Question, Reply, Score, WireError
from lmrun.worker.prompts import PromptMaker, Tokenizer
from lmrun.worker.questions import answer
from lmrun.worker.wire_errors import to_wire


@dataclass(frozen=True, slots=True)
class Prepared:
    """A sequence that the engine can take. `text`: what was asked about its prompt."""

    spec: SequenceSpec
    text: PromptText | None = None

    @property
    def id(self) -> int:
        return self.spec.id


@dataclass(frozen=True, slots=True)
class Prewarmed:
    """A prefix that the engine should compute; nobody waits for it."""

    spec: SequenceSpec


@dataclass(frozen=True, slots=True)
class Unprepared:
    """A sequence whose prompt never became tokens."""

    id: int
    error: WireError


@dataclass(frozen=True, slots=True)
class Answered:
    """A question's answer, ready to go out."""

    reply: Reply

    @property
    def id(self) -> int:
        return self.reply.id


Wanted = Generate | Embed | Score | Question
Outcome = Prepared | Job | Answered | Unprepared


class Preparer:
    """Prepares what is wanted first come, first served, and hands each to `deliver`.

    `prewarm`: system prompts whose beginnings are prepared before anything else.
    """

    def __init__(
        self,
        model: Tokenizer,
        prompts: PromptMaker,
        deliver: Callable[[Outcome | Prewarmed], None],
        prewarm: tuple[str, ...] = (),
    ) -> None:
        self._model = model
        self._deliver = deliver
        self._prompts = prompts
        self._prewarm = prewarm
        self._queue: SimpleQueue[Wanted | None] = SimpleQueue()
        self._wanted: set[int] = set()
        self._thread = threading.Thread(target=self._run, name="preparer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, wanted: Wanted) -> None:
        """Queue a request. Callable from any thread."""
        self._wanted.add(wanted.id)
        self._queue.put(wanted)

    def cancel(self, sequence: int) -> None:
        """Do not begin with a sequence that still waits. Callable from any thread."""
        self._wanted.discard(sequence)

    def close(self, timeout_s: float) -> None:
        """Wait until nothing uses the model any more, at most `timeout_s`."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        # Started here, since on Linux a child with a death signal dies with the thread, not the
        # process, that started it.
        self._prompts.start()
        for number, system_prompt in enumerate(self._prewarm, start=1):
            self._prepare_prewarm(-number, system_prompt)
        while (wanted := self._queue.get()) is not None:
            if wanted.id in self._wanted:
                self._wanted.discard(wanted.id)
                self._deliver(self._prepare(wanted))
        self._prompts.close()

    def _prepare(self, wanted: Wanted) -> Outcome:
        try:
            match wanted:
                case Generate():
                    return Prepared(*self._prompts.make_spec(wanted))
                case Embed() | Score():
                    return make_job(self._model, wanted)
                case _:
                    return Answered(answer(self._model, self._prompts, wanted))
        except LmrunError as error:
            return Unprepared(wanted.id, to_wire(error))

    def _prepare_prewarm(self, id: int, system_prompt: str) -> None:
        """The log is the only one to tell: no request is behind it."""
        try:
            self._deliver(Prewarmed(self._prompts.make_prewarm(id, system_prompt)))
        except LmrunError as error:
            print(f"a preset is not prewarmed: {error}", file=sys.stderr, flush=True)
