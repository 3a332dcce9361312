"""Which tokens go into the next decode: those that stream, their guesses, slices of prompts.

It fills a batch and changes no sequence but for where in the batch it stands.
"""

from __future__ import annotations

from collections.abc import Sequence as Several
from dataclasses import dataclass

import numpy as np

from lmrun.engines.llama_cpp.batch import Batch
from lmrun.engines.llama_cpp.loading.shape import ContextShape
from lmrun.engines.llama_cpp.scheduling import slices
from lmrun.engines.llama_cpp.scheduling.sequence import Sequence

NOT_LAST = -1


@dataclass(frozen=True, slots=True)
class Slice:
    """`taken` tokens of a prompt in the batch, the last one in `row`."""

    sequence: Sequence
    taken: int
    row: int


def add_streams(batch: Batch, streams: Several[Sequence], shape: ContextShape) -> None:
    """Every stream's pending tokens, with its drafts behind them.

    A stream with more pending tokens than there is room for gets a part of them, and no logits:
    its `row` is NOT_LAST then.
    """
    spare = shape.capacity - len(streams)
    for stream in streams:
        pending = stream.pending
        if pending == 1 and not stream.drafts:
            stream.row = batch.add_token(stream.last, stream.computed, stream.slot)
            stream.taken = 1
        else:
            spare -= _add_run(batch, stream, pending, spare)


def _add_run(batch: Batch, stream: Sequence, pending: int, spare: int) -> int:
    """Returns how many rows beyond the first it took."""
    taken = stream.taken = min(pending, 1 + spare)
    tokens = stream.tokens[stream.computed : stream.computed + taken]
    if taken < pending:
        stream.drafts = []
        batch.add_rows(tokens, stream.computed, stream.slot, outputs=0)
        stream.row = NOT_LAST
        return taken - 1
    del stream.drafts[max(0, 1 + spare - taken) :]
    drafts = len(stream.drafts)
    if drafts:
        tokens = np.concatenate([tokens, np.array(stream.drafts, dtype=np.int32)])
    last = batch.add_rows(tokens, stream.computed, stream.slot, outputs=1 + drafts)
    stream.row = last - drafts
    return taken + drafts - 1


def add_prompts(batch: Batch, prompts: Several[Sequence], budget: int, outputs: int) -> list[Slice]:
    """Slices of prompts, `budget` tokens together. `outputs`: rows that may still have logits.

    Prompts that have reached an image are passed over: an image is computed by itself. The first
    of `prompts` is served first, but rows are in the order of slots, as those of streams are.
    """
    waiting = [prompt for prompt in prompts if room_before_image(prompt)]
    shares = slices.share([room_before_image(prompt) for prompt in waiting], budget)
    filled = []
    for prompt, taken in sorted(zip(waiting, shares, strict=True), key=lambda pair: pair[0].slot):
        if prompt.wants_prompt_scores and not prompt.is_resuming:
            # One row of its own it always has: its last.
            taken = min(taken, outputs + 1)
            outputs -= taken - 1
        if taken:
            filled.append(_add_slice(batch, prompt, taken))
    return filled


def room_before_image(prompt: Sequence) -> int:
    """Tokens that can be computed before the next image; 0 at an image."""
    image = prompt.next_image() if prompt.images else None
    return image.begin - prompt.computed if image is not None else prompt.pending


def _add_slice(batch: Batch, prompt: Sequence, taken: int) -> Slice:
    tokens = prompt.tokens[prompt.computed : prompt.computed + taken]
    if prompt.wants_prompt_scores and not prompt.is_resuming:
        outputs = taken
    else:
        outputs = int(taken == prompt.pending and prompt.limit > 0)
    row = batch.add_rows(tokens, prompt.computed, prompt.slot, outputs=outputs)
    return Slice(prompt, taken, row)
