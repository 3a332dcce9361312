"""The step loop: commands in, one batched decode, one frame out. It owns the engine.

It knows no socket, no template and no text: it hands pieces of bytes to each sequence's assembly.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from lmrun.chat.events import ChatEnd, PromptText, WorkerEvent
from lmrun.engines.base import (
    LoadedModel,
    PromptProcessed,
    PromptScored,
    SequenceFailed,
    SequenceFinished,
    SequenceSpec,
    SequenceStats,
    StepEvent,
    TokenProduced,
)
from lmrun.errors import EngineError, LmrunError
from lmrun.worker.assembly.generation import Echo, Generation
from lmrun.worker.embedding.jobs import Failure, Job, Jobs
from lmrun.worker.frames import Cancel, Close, Embedded, Reply, Step, Threads
from lmrun.worker.outgoing import Outgoing
from lmrun.worker.preparer import Answered, Outcome, Prepared, Prewarmed, Unprepared
from lmrun.worker.wire_errors import to_wire

_LONG_S = 1.0
"""A heartbeat's time: whoever waits longer for the next frame is told so before."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A sequence has arrived and is being prepared."""

    id: int


Command = Accepted | Outcome | Prewarmed | Cancel | Threads | Close


class StepLoop:
    """Runs until `Close`. `send` is called from the thread that calls `run`."""

    def __init__(
        self,
        model: LoadedModel,
        inbox: SimpleQueue[Command],
        send: Callable[[Step | Embedded | Reply], None],
    ) -> None:
        self._model = model
        self._inbox = inbox
        self._send = send
        self._preparing: set[int] = set()
        self._running: dict[int, Generation] = {}
        self._events: list[StepEvent] = []
        self._jobs = Jobs(model)
        self._outgoing = Outgoing(time.monotonic())
        self._is_closing = False

    def run(self) -> None:
        """Step while there is work, sleep and send heartbeats while there is none.

        Raises EngineError when the model is unusable.
        """
        self._drain()
        while not self._is_closing:
            self._flush()
            if self._is_stepping:
                self._step()
            elif self._jobs:
                self._run_jobs()
            else:
                self._sleep()
            self._drain()

    @property
    def _is_stepping(self) -> bool:
        return self._model.active > 0 or self._model.waiting > 0

    def _drain(self) -> None:
        # Asked first, for get_nowait would raise an exception in each step. Nobody else takes.
        while not self._inbox.empty():
            self._obey(self._inbox.get())

    def _sleep(self) -> None:
        """Housekeeping first, a piece at a time: a command never waits for more than one."""
        if self._inbox.empty() and self._model.rest():
            return
        try:
            command = self._inbox.get(timeout=self._outgoing.seconds_to_heartbeat(time.monotonic()))
        except Empty:
            return
        self._obey(command)

    def _flush(self) -> None:
        now = time.monotonic()
        patience_s = self._jobs.patience_s
        if patience_s > _LONG_S:
            self._outgoing.hurry()
        if self._outgoing.is_due(now):
            active = self._model.active + len(self._jobs)
            waiting = self._model.waiting + len(self._preparing)
            is_due = self._outgoing.is_usage_due(now, is_idle=active + waiting == 0)
            usage = self._model.usage() if is_due else None
            self._send(
                self._outgoing.take(
                    now, active=active, waiting=waiting, usage=usage, patience_s=patience_s
                )
            )

    def _step(self) -> None:
        self._events = self._model.step()
        for event in self._events:
            self._take(event)

    def _run_jobs(self) -> None:
        for answer in self._jobs.run_turn():
            match answer:
                case Failure(id, error):
                    self._outgoing.fail(id, to_wire(error))
                case Embedded():
                    self._send(answer)
                    if answer.is_last:
                        self._outgoing.hurry()

    def _obey(self, command: Command) -> None:
        match command:
            case Accepted(id):
                self._preparing.add(id)
                self._outgoing.hurry()
            case Prewarmed(spec):
                self._prewarm(spec)
            case Cancel(id):
                self._cancel(id)
            case Threads(count):
                self._model.set_threads(count)
            case Close():
                self._is_closing = True
            case _:
                self._receive(command)

    def _receive(self, outcome: Outcome) -> None:
        if outcome.id not in self._preparing:
            return  # cancelled in the meantime
        self._preparing.discard(outcome.id)
        match outcome:
            case Prepared(spec, text):
                self._add(spec, text)
            case Job():
                self._add_job(outcome)
            case Answered(reply):
                self._send(reply)
                self._outgoing.hurry()
            case Unprepared(id, error):
                self._outgoing.fail(id, error)

    def _add(self, spec: SequenceSpec, text: PromptText | None) -> None:
        try:
            self._model.add(spec)
        except LmrunError as error:
            self._outgoing.fail(spec.id, to_wire(error))
            return
        if text is not None:
            self._outgoing.add(spec.id, (text,))
        self._running[spec.id] = Generation(
            len(spec.prompt),
            spec.prediction.stop_strings,
            echo=self._make_echo(spec.prompt) if spec.prediction.echo else None,
            has_logprobs=spec.prediction.logprobs is not None,
        )

    def _add_job(self, job: Job) -> None:
        try:
            self._jobs.add(job)
        except LmrunError as error:
            self._outgoing.fail(job.id, to_wire(error))

    def _make_echo(self, prompt: tuple[int, ...]) -> Echo:
        # An image's places in a prompt are negative numbers: there is no text in them.
        tokens = [token for token in prompt if token >= 0]
        return Echo(self._model.detokenize(tokens), self._model.detokenize(tokens[:1]))

    def _prewarm(self, spec: SequenceSpec) -> None:
        """Its events go nowhere: what counts is what stays in the engine's prefix cache."""
        try:
            self._model.add(spec)
        except LmrunError as error:
            print(f"a preset is not prewarmed: {error}", file=sys.stderr, flush=True)

    def _cancel(self, sequence: int) -> None:
        self._preparing.discard(sequence)
        self._jobs.drop(sequence)
        if self._running.pop(sequence, None) is not None:
            self._model.cancel(sequence)
        self._outgoing.drop(sequence)

    def _take(self, event: StepEvent) -> None:
        generation = self._running.get(event.sequence)
        if generation is None:
            return  # ended at a stop string earlier in this step
        match event:
            case TokenProduced():
                self._take_token(generation, event)
            case PromptProcessed():
                self._outgoing.add(
                    event.sequence, generation.take_prompt(event.processed, event.cached)
                )
            case PromptScored():
                generation.take_scores(event.tokens)
            case SequenceFinished():
                self._end(event.sequence, generation.finish(event.reason, event.stats))
            case SequenceFailed():
                del self._running[event.sequence]
                self._outgoing.fail(event.sequence, to_wire(EngineError(event.message)))

    def _take_token(self, generation: Generation, event: TokenProduced) -> None:
        events = generation.take_token(
            event.piece, event.logprob, end=lambda: self._stop(event.sequence)
        )
        self._outgoing.count_token()
        if events and isinstance(events[-1], ChatEnd):
            self._end(event.sequence, events)
        else:
            is_first = generation.completion_tokens == 1
            self._outgoing.add(event.sequence, events, is_first=is_first)

    def _stop(self, sequence: int) -> SequenceStats | None:
        """End a sequence at its stop string. The engine may have ended it in this very step,
        behind the stop string, and knows it no more."""
        for event in self._events:
            if isinstance(event, SequenceFinished) and event.sequence == sequence:
                return event.stats
        return self._model.cancel(sequence)

    def _end(self, sequence: int, events: list[WorkerEvent]) -> None:
        del self._running[sequence]
        self._outgoing.add(sequence, events)
