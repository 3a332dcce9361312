"""One context and the sequences in it: they wait, share what they have in common, are prefilled
and stream, in one batch per step.

Prompts share the prefill of a step in turns, one after the other: a short prompt does not wait
for a long one that came first. It knows no text but pieces, and no stop string.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, deque
from collections.abc import Iterable
from operator import attrgetter

from lmrun.engines.base import (
    FinishReason,
    PromptProcessed,
    SequenceFailed,
    SequenceFinished,
    SequenceStats,
    StepEvent,
)
from lmrun.engines.llama_cpp.context import Context
from lmrun.engines.llama_cpp.prefixes.parking import Parking
from lmrun.engines.llama_cpp.scheduling.advancing import Advancer, Counters
from lmrun.engines.llama_cpp.scheduling.filling import (
    NOT_LAST,
    Slice,
    add_prompts,
    add_streams,
    room_before_image,
)
from lmrun.engines.llama_cpp.scheduling.pacing import Pacing
from lmrun.engines.llama_cpp.scheduling.placement import Placement
from lmrun.engines.llama_cpp.scheduling.seating import Seating
from lmrun.engines.llama_cpp.scheduling.sequence import Namespace, Sequence
from lmrun.engines.llama_cpp.scheduling.slots import COPIES_PER_TOKEN, Slots
from lmrun.engines.llama_cpp.vocabulary import Vocabulary
from lmrun.errors import EngineError

_SLOT = attrgetter("slot")


class Lane:
    """Runs sequences in `context`. `parking`: where finished ones go; None keeps nothing, and
    every sequence is computed from its beginning. Streams are decoded in the order of their slots.
    """

    def __init__(
        self,
        context: Context,
        vocabulary: Vocabulary,
        counters: Counters,
        parking: Parking | None,
    ) -> None:
        self._context = context
        self._shape = context.shape
        self._counters = counters
        self._shares = parking is not None
        self._slots = Slots(context.shape.sequences)
        self._seating = Seating(context.memory, self._slots, parking)
        self._placement = Placement(context.memory, self._slots, parking)
        self._advancer = Advancer(context, vocabulary, counters, self._finish)
        self._free_tokens = context.shape.pool
        self._waiting: deque[Sequence] = deque()
        self._following: list[Sequence] = []
        self._prefilling: deque[Sequence] = deque()
        self._streaming: list[Sequence] = []
        self._shifted: list[Sequence] = []
        self._finished: list[Sequence] = []
        self._known: dict[int, Sequence] = {}
        self._namespaces: Counter[Namespace] = Counter()
        self._admitted = 0
        self._steps_apart = 0
        self._pacing = Pacing(context.shape)

    @property
    def active(self) -> int:
        return len(self._known) - len(self._waiting)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def room(self) -> int:
        """KV cells that one sequence may fill."""
        return self._shape.room

    @property
    def used_tokens(self) -> int:
        """KV cells that its sequences may come to need."""
        return self._shape.pool - self._free_tokens

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._known

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence, first come first served."""
        self._known[sequence.id] = sequence
        self._waiting.append(sequence)

    def cancel(self, sequence: int) -> SequenceStats | None:
        """Drop a sequence: its counts so far. Unknown ones are ignored."""
        found = self._known.get(sequence)
        if found is None:
            return None
        self._drop(found)
        return found.stats

    def step(self, events: list[StepEvent]) -> None:
        """One decode for each set of adapters in use, and at most one image."""
        while self._finished:
            self.park_one()
        self._admit()
        self._settle()
        self._close_ranks()
        if not self._prefilling and not self._streaming:
            return
        streaming, budget = self._streaming.copy(), 0
        if self._prefilling:
            if self._pacing.holds_back(streaming, self._prefilling):
                streaming.clear()
            budget = self._pacing.choose_budget(len(streaming))
        if len(self._namespaces) == 1:
            self._decode(streaming, list(self._prefilling), budget, events)
        else:
            for namespace in list(self._namespaces):
                streams = [each for each in streaming if each.namespace == namespace]
                prompts = [each for each in self._prefilling if each.namespace == namespace]
                self._decode(streams, prompts, budget, events)
        self._compute_image(events)

    def park_one(self) -> bool:
        """Put away what a sequence that has ended computed. Whether there was something to do.

        It takes a millisecond or more, so it waits until the last events are on their way.
        """
        if not self._finished:
            return self._seating.park_one()
        self._seating.leave(self._finished.pop(0), park=True)
        return True

    def drop_all(self) -> None:
        """Drop every sequence, the youngest first: nobody is left who would take over."""
        while self._finished:
            self.park_one()
        for sequence in reversed(list(self._known.values())):
            self._drop(sequence, park=False)
        self._seating.close()

    def _admit(self) -> None:
        """Whoever comes next waits for room; nobody overtakes, so nobody starves."""
        while self._shifted:
            self._place(self._shifted.pop(0))
        while self._waiting and self._slots.has_free and self._fits(self._waiting[0]):
            sequence = self._waiting.popleft()
            self._seating.seat(sequence)
            self._admitted += 1
            sequence.order = self._admitted
            self._free_tokens -= sequence.reserved
            self._namespaces[sequence.namespace] += 1
            self._place(sequence)

    def _fits(self, sequence: Sequence) -> bool:
        return sequence.reserved <= self._free_tokens

    def _place(self, sequence: Sequence) -> None:
        if self._shares:
            self._placement.place(sequence, self._live())
        if sequence.donor is not None:
            self._following.append(sequence)
        else:
            self._begin(sequence)

    def _begin(self, sequence: Sequence) -> None:
        if not sequence.is_resuming:
            self._counters.cached += sequence.cached
        self._prefilling.append(sequence)

    def _live(self) -> Iterable[Sequence]:
        yield from self._prefilling
        yield from self._streaming
        yield from self._following

    def _settle(self) -> None:
        for sequence in self._following.copy():
            if self._placement.settle(sequence):
                self._following.remove(sequence)
                self._begin(sequence)

    def _close_ranks(self) -> None:
        """Fill a gap between the slots in use, once it has cost about what filling it does.

        Its rows are computed in two passes as long as it is there, so every step with it loses the
        time of a token or two.
        """
        gap = None if self._shape.unified else self._slots.gap
        if gap is None:
            self._steps_apart = 0
            return
        self._steps_apart += 1
        live = sorted(self._live(), key=_SLOT)
        mover = min(live[0], live[-1], key=lambda each: each.computed)
        if self._seating.count_cells(mover, gap) <= self._steps_apart * COPIES_PER_TOKEN:
            self._seating.close_gap(mover, gap)
            self._steps_apart = 0
            self._streaming.sort(key=_SLOT)

    def _decode(
        self,
        streams: list[Sequence],
        prompts: list[Sequence],
        budget: int,
        events: list[StepEvent],
    ) -> None:
        """One decode of the pending tokens of `streams` and `budget` tokens of `prompts`."""
        batch = self._context.batch
        batch.clear()
        self._draft(streams, events)
        add_streams(batch, streams, self._shape)
        filled = self._add_prompts(streams, prompts, budget) if prompts else []
        if not batch.size:
            return
        self._context.use_adapters((streams or prompts)[0].namespace)
        seconds = self._context.decode()
        if seconds is None:
            events.append(self._refuse(prompts or streams))
            return
        self._pacing.observe(streams, batch.size, seconds, has_prompts=bool(filled))
        for stream in streams:
            self._go_on(stream, events)
        for part in filled:
            self._proceed(part, events)

    def _draft(self, streams: list[Sequence], events: list[StepEvent]) -> None:
        """Guesses for the streams that speculate, as many as there are rows to verify.

        A stream whose grammar or draft model breaks over it ends and is none of `streams` any more.
        """
        room, rows = self._shape.spare, len(streams)
        for stream in [each for each in streams if each.drafter is not None]:
            try:
                stream.drafts = self._pacing.guess(stream, room, rows)
            except EngineError as error:
                streams.remove(stream)
                self._fail(stream, error, events)
            else:
                room -= len(stream.drafts)
                rows += len(stream.drafts)

    def _add_prompts(
        self, streams: list[Sequence], prompts: list[Sequence], budget: int
    ) -> list[Slice]:
        batch, shape = self._context.batch, self._shape
        drafts = sum(len(stream.drafts) for stream in streams)
        outputs = shape.outputs - len(streams) - drafts - len(prompts)
        return add_prompts(batch, prompts, min(budget, batch.capacity - batch.size), outputs)

    def _go_on(self, stream: Sequence, events: list[StepEvent]) -> None:
        """After a decode with a stream's pending tokens in it."""
        stream.computed += stream.taken
        if stream.row != NOT_LAST:
            self._advance(stream, events)

    def _proceed(self, part: Slice, events: list[StepEvent]) -> None:
        """After a slice of a prompt: to the back of the turn, or to its first token."""
        sequence = part.sequence
        sequence.computed += part.taken
        self._counters.prefilled += part.taken
        self._report(sequence, events)
        if sequence.wants_prompt_scores and not sequence.is_resuming:
            try:
                self._advancer.score_prompt(sequence, part.taken, part.row, events)
            except EngineError as error:
                self._fail(sequence, error, events)
                return
        self._prefilling.remove(sequence)
        if sequence.pending:
            self._prefilling.append(sequence)
        else:
            sequence.row = part.row
            self._stream(sequence, events)

    def _stream(self, sequence: Sequence, events: list[StepEvent]) -> None:
        insort(self._streaming, sequence, key=_SLOT)
        sequence.is_resuming = False
        if sequence.limit:
            self._advance(sequence, events)
        else:
            self._finish(sequence, sequence.limit_reason, events)

    def _report(self, sequence: Sequence, events: list[StepEvent]) -> None:
        if not sequence.is_resuming:
            events.append(PromptProcessed(sequence.id, sequence.computed, sequence.cached))

    def _advance(self, sequence: Sequence, events: list[StepEvent]) -> None:
        try:
            self._advancer.advance(sequence, events)
        except EngineError as error:
            self._fail(sequence, error, events)
            return
        if sequence.is_full and sequence.is_live:
            self._shift(sequence)

    def _shift(self, sequence: Sequence) -> None:
        """A full context goes on with a part of its tokens, computed again: shifting positions
        in place would move cells that other sequences share.

        It is placed in the next step: until the tokens of this decode are all counted, other
        sequences hold more than they say.
        """
        self._streaming.remove(sequence)
        self._release_followers(sequence)
        self._seating.empty(sequence, park=True)
        sequence.make_room()
        self._shifted.append(sequence)

    def _compute_image(self, events: list[StepEvent]) -> None:
        for sequence in self._prefilling:
            if sequence.images and not room_before_image(sequence):
                break
        else:
            return
        image = sequence.next_image()
        assert image is not None
        self._context.use_adapters(sequence.namespace)
        try:
            image.handle.decode(
                self._context.pointer, sequence.slot, sequence.computed, self._shape.capacity
            )
        except EngineError as error:
            self._fail(sequence, error, events)
            return
        sequence.computed += image.length
        self._counters.prefilled += image.length
        self._report(sequence, events)

    def _fail(self, sequence: Sequence, error: EngineError, events: list[StepEvent]) -> None:
        self._drop(sequence, park=False)
        events.append(SequenceFailed(sequence.id, error.message))

    def _finish(self, sequence: Sequence, reason: FinishReason, events: list[StepEvent]) -> None:
        self._drop(sequence)
        events.append(SequenceFinished(sequence.id, reason, sequence.stats))

    def _refuse(self, decoded: list[Sequence]) -> SequenceFailed:
        """llama.cpp computed nothing. Without a KV cell left, the youngest sequence goes."""
        youngest = max(decoded, key=lambda each: each.order)
        self._drop(youngest, park=False)
        return SequenceFailed(youngest.id, "The KV cache has no room for this sequence.")

    def _drop(self, sequence: Sequence, *, park: bool = True) -> None:
        """Free all that a sequence holds, wherever it is."""
        del self._known[sequence.id]
        sequence.is_live = False
        if sequence.slot < 0:
            self._waiting.remove(sequence)
        else:
            self._leave(sequence)
            self._release_followers(sequence)
            if park:
                self._finished.append(sequence)
            else:
                self._seating.leave(sequence, park=False)
            self._free_tokens += sequence.reserved
            self._namespaces[sequence.namespace] -= 1
            if not self._namespaces[sequence.namespace]:
                del self._namespaces[sequence.namespace]
        sequence.close()

    def _leave(self, sequence: Sequence) -> None:
        for place in (self._streaming, self._prefilling, self._following, self._shifted):
            if sequence in place:
                place.remove(sequence)
                return

    def _release_followers(self, donor: Sequence) -> None:
        """Who waited for a sequence that goes takes what it has, or looks for another one."""
        for sequence in [each for each in self._following if each.donor is donor]:
            self._following.remove(sequence)
            self._placement.inherit(sequence)
            self._place(sequence)
