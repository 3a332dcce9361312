"""How much of the waiting prompts one step takes. Pure: it knows no clock, no batch, no llama.cpp.

While something streams, a step with prefill in it should cost at most three times as much as a
step that only decodes, or `UNSEEN_S`, which nobody sees. Costs are near enough linear in the tokens
of a batch, so two figures suffice: what a decode-only step takes, and what one more prompt token
adds to it. With separate caches a slice is a pass of its own besides, for llama.cpp computes
together only sequences with as many rows each: it takes as long as one row does, at least.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

AIM_RATIO = 2.3
"""What is aimed at, so that a step that takes longer than expected still costs at most three."""
UNSEEN_S = 0.024
"""A step as short as that nobody sees: the texts of a worker share a frame for longer."""
PROBE_EVERY = 16
"""Of so many steps with prompts in a row one takes none, and shows what decoding costs by now."""
FIRST_SLICE = 16
SHORTEST_EXACT = 8
GATHERED_CHUNKS = 4
_RISE = 1.2
_WEIGHT = 0.3
_LEAST_SHARE = 0.02
_SMALLEST_SHARE = 0.1
_FORGET = 1.001


class Pace(NamedTuple):
    """What steps of this model cost, in seconds.

    `decode_s`: a step that decodes one token for each of so many sequences, as far as it was seen.
    `token_s`: one more prompt token in a step, 0 as long as it is not measured; `least_s`: the
    least that it was, some time ago, for what a slice costs besides seems to be its tokens', the
    more the shorter it is. `largest`: the largest slice that joined decoding so far; the next is at
    most twice as large, for beyond what was measured costs may not be linear. `apart`: a slice is a
    pass of its own.
    """

    decode_s: Mapping[int, float] = {}
    token_s: float = 0.0
    least_s: float = 0.0
    largest: int = FIRST_SLICE
    apart: bool = False

    def estimate_decode(self, rows: int) -> float:
        """A lower bound for `rows` sequences, 0 when nothing is known: what fewer of them took, or
        the share of them in what more took."""
        fewer = max((seen for seen in self.decode_s if seen <= rows), default=0)
        more = min((seen for seen in self.decode_s if seen >= rows), default=0)
        least = self.decode_s[fewer] if fewer else 0.0
        return max(least, self.decode_s[more] * rows / more) if more else least

    @property
    def pass_s(self) -> float:
        """What a slice costs beside streams, however short it is."""
        return self.estimate_decode(1) if self.apart else 0.0


def observe(pace: Pace, *, rows: int, prompt_tokens: int, seconds: float) -> Pace:
    """The pace after a step of `rows` decoded tokens and `prompt_tokens` of prefill."""
    if rows and not prompt_tokens:
        return pace._replace(decode_s={**pace.decode_s, rows: _follow(pace, rows, seconds)})
    if not prompt_tokens:
        return pace
    largest = max(pace.largest, prompt_tokens) if rows else pace.largest
    pace = pace._replace(largest=largest)
    if rows and rows not in pace.decode_s and pace.token_s:
        # What is more than in a step without prompts cannot be told from what more rows cost.
        return pace
    decode_s = pace.estimate_decode(rows) + pace.pass_s if rows else 0.0
    token_s = max(seconds - decode_s, _LEAST_SHARE * seconds) / prompt_tokens
    blended = token_s if not pace.token_s else pace.token_s + _WEIGHT * (token_s - pace.token_s)
    least_s = min(blended, _FORGET * pace.least_s) if pace.least_s else blended
    return pace._replace(token_s=blended, least_s=least_s)


def choose_slice(pace: Pace, rows: int, most: int) -> int:
    """Prompt tokens that may join a step in which `rows` sequences decode: 1 to `most`."""
    decode_s = pace.estimate_decode(rows)
    if not decode_s or not pace.token_s:
        return min(FIRST_SLICE, most)
    left = max(AIM_RATIO * decode_s, UNSEEN_S) - decode_s - pace.pass_s
    # Shorter ones would not be cheaper: what a slice costs besides its tokens it costs anyhow.
    shortest = _SMALLEST_SHARE * left / (pace.least_s or pace.token_s)
    affordable = min(max(left / pace.token_s, shortest), 2 * pace.largest, most)
    return max(1, math.floor(affordable))


def may_gather(generated: Iterable[int], remaining: int, chunk: int, held: int) -> bool:
    """Whether streams should wait for the prompts that came together with them.

    A decode of many rows costs less per row than several of few, and so does a slice that is not
    cut to fit beside streams. So as long as no stream has got further than its first token
    (`generated`: of each), and `remaining` prompt tokens are not too many, all begin together.
    `held`: steps for which they have waited already.
    """
    is_short = remaining <= GATHERED_CHUNKS * chunk and held < GATHERED_CHUNKS
    return is_short and all(tokens <= 1 for tokens in generated)


def share(remaining: Sequence[int], budget: int) -> list[int]:
    """Tokens that each prompt gets in this step, in the order given; the first is served first.

    A prompt never leaves a rest shorter than `SHORTEST_EXACT` where the budget allows: below that
    llama.cpp computes with other kernels, so the logits would depend on where the prompt was cut.
    """
    shares = []
    for rest in remaining:
        taken = min(rest, budget)
        short = SHORTEST_EXACT - (rest - taken)
        if taken < rest and short > 0 and taken - short >= SHORTEST_EXACT:
            taken -= short
        shares.append(taken)
        budget -= taken
    return shares


def _follow(pace: Pace, rows: int, seconds: float) -> float:
    """Down at once by half of the way, up slowly: a step that was disturbed teaches little. What is
    new is at most what the rows that were seen would take one by one."""
    known = pace.decode_s.get(rows)
    if known is not None:
        return min(known + 0.5 * (seconds - known), known * _RISE)
    most = min((taken * max(1.0, rows / seen) for seen, taken in pace.decode_s.items()), default=0)
    return min(seconds, _RISE * most) if most else seconds
