"""Which token comes next in one sequence. It knows no text and no other sequence.

Logit bias and penalties change the logits in place: they touch a few dozen tokens, where
llama.cpp's samplers walk the whole vocabulary (15 µs against 150 µs at 49,000 tokens).
Truncation and the draw are llama.cpp's sampler chain, in its own default order, `top_k` first.
"""

from __future__ import annotations

import ctypes
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from llama_cpp import llama_cpp as native
from numpy.typing import NDArray

from lmrun.settings.prediction import PredictionConfig

REPEAT_WINDOW = 64
_AT_LEAST_ONE = 1

Logits = NDArray[np.float32]

# llama_get_logits_ith as a plain address: its binding makes a pointer object, which numpy takes
# ten times as long to turn into an array.
_address_of_logits = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)(
    ctypes.cast(cast(Any, native.llama_get_logits_ith), ctypes.c_void_p).value or 0
)


class RepeatPenalty:
    """Divides the logits of the last 64 tokens, prompt included; negative ones are multiplied.

    The formula of llama.cpp's penalties sampler, after arXiv:1909.05858 section 4.1.
    """

    def __init__(self, penalty: float, prompt: Sequence[int]) -> None:
        self._penalty = penalty
        self._window = deque(prompt[-REPEAT_WINDOW:], maxlen=REPEAT_WINDOW)

    def accept(self, token: int) -> None:
        self._window.append(token)

    def apply(self, logits: Logits) -> None:
        """One by one: with caches cold after a decode, this is faster than six numpy calls."""
        values: memoryview[float] = logits.data  # type: ignore[assignment]  # numpy says int
        penalty = self._penalty
        for token in set(self._window):
            value = values[token]
            values[token] = value / penalty if value > 0 else value * penalty


class CountPenalty:
    """Subtracts, from each token generated so far, `presence` once and `frequency` per time."""

    def __init__(self, presence: float, frequency: float) -> None:
        self._presence = presence
        self._frequency = frequency
        self._places: dict[int, int] = {}
        self._tokens = np.zeros(REPEAT_WINDOW, dtype=np.int64)
        self._amounts = np.zeros(REPEAT_WINDOW, dtype=np.float32)

    def accept(self, token: int) -> None:
        place = self._places.get(token)
        if place is None:
            place = self._places[token] = len(self._places)
            if place == len(self._tokens):
                self._tokens = np.concatenate([self._tokens, self._tokens])
                self._amounts = np.concatenate([self._amounts, self._amounts])
            self._tokens[place] = token
            self._amounts[place] = self._presence
        self._amounts[place] += self._frequency

    def apply(self, logits: Logits) -> None:
        count = len(self._places)
        logits[self._tokens[:count]] -= self._amounts[:count]


class LogitBias:
    """Adds a constant to single tokens' logits."""

    def __init__(self, bias: Mapping[int, float]) -> None:
        self._tokens = np.fromiter(bias.keys(), dtype=np.int64)
        self._amounts = np.fromiter(bias.values(), dtype=np.float32)

    def accept(self, token: int) -> None:
        """Nothing to remember."""

    def apply(self, logits: Logits) -> None:
        logits[self._tokens] += self._amounts


Adjustment = LogitBias | RepeatPenalty | CountPenalty


def make_adjustments(prediction: PredictionConfig, prompt: Sequence[int]) -> list[Adjustment]:
    """What changes the logits before a token is chosen, in order of application."""
    adjustments: list[Adjustment] = []
    if prediction.logit_bias:
        adjustments.append(LogitBias(prediction.logit_bias))
    if prediction.repeat_penalty != 1:
        adjustments.append(RepeatPenalty(prediction.repeat_penalty, prompt))
    if prediction.presence_penalty or prediction.frequency_penalty:
        adjustments.append(CountPenalty(prediction.presence_penalty, prediction.frequency_penalty))
    return adjustments


class Outputs:
    """The logits of the last decode: numpy arrays on llama.cpp's memory, made once per address."""

    def __init__(self, context: int, vocab_size: int) -> None:
        self.context = context
        self._row_type = ctypes.c_float * vocab_size
        self._views: dict[int, Logits] = {}

    def read(self, row: int) -> Logits:
        """The logits of a batch row, valid and changeable until the next decode."""
        address = _address_of_logits(self.context, row)
        view = self._views.get(address)
        if view is None:
            memory = memoryview(self._row_type.from_address(address))
            view = self._views[address] = np.frombuffer(memory, np.float32)
        return view


class Sampler:
    """One sequence's sampler. `close` frees what llama.cpp holds for it."""

    def __init__(self, prediction: PredictionConfig, prompt: Sequence[int]) -> None:
        self._adjustments = make_adjustments(prediction, prompt)
        self._chain = None if prediction.temperature == 0 else _make_chain(prediction)

    def sample(self, outputs: Outputs, row: int) -> int:
        """The next token out of the logits of batch row `row`, remembered for penalties."""
        chain = self._chain
        if chain is None or self._adjustments:
            logits = outputs.read(row)
            for adjustment in self._adjustments:
                adjustment.apply(logits)
        token: int
        if chain is None:
            token = int(logits.argmax())
        else:
            token = native.llama_sampler_sample(chain, outputs.context, row)
        for adjustment in self._adjustments:
            adjustment.accept(token)
        return token

    def close(self) -> None:
        if self._chain is not None:
            native.llama_sampler_free(self._chain)
            self._chain = None


def _make_chain(prediction: PredictionConfig) -> int:
    parameters = native.llama_sampler_chain_default_params()
    parameters.no_perf = True
    chain: int = native.llama_sampler_chain_init(parameters)
    if prediction.top_k:
        native.llama_sampler_chain_add(chain, native.llama_sampler_init_top_k(prediction.top_k))
    if prediction.top_p < 1:
        top_p = native.llama_sampler_init_top_p(prediction.top_p, _AT_LEAST_ONE)
        native.llama_sampler_chain_add(chain, top_p)
    if prediction.min_p > 0:
        min_p = native.llama_sampler_init_min_p(prediction.min_p, _AT_LEAST_ONE)
        native.llama_sampler_chain_add(chain, min_p)
    native.llama_sampler_chain_add(chain, native.llama_sampler_init_temp(prediction.temperature))
    seed = choose_seed(prediction.seed)
    native.llama_sampler_chain_add(chain, native.llama_sampler_init_dist(seed))
    return chain


def choose_seed(seed: int | None) -> int:
    """The seed for llama.cpp. Its largest value means "random" there, so it becomes another."""
    if seed is None:
        return secrets.randbelow(native.LLAMA_DEFAULT_SEED)
    return seed if seed != native.LLAMA_DEFAULT_SEED else native.LLAMA_DEFAULT_SEED - 1
