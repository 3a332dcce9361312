"""The draw: llama.cpp's sampler chain, in its default order. It knows no penalty and no sequence.

dry (elsewhere), top_k, typical, top_p, min_p, xtc, temperature, draw; mirostat replaces all but
temperature. The order is that of `common_sampler_init` in llama.cpp's common/sampling.cpp.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from llama_cpp import llama_cpp as native

from lmrun.settings.prediction import PredictionConfig

_AT_LEAST_ONE = 1
_MIROSTAT_M = 100
"""How many of the likeliest tokens mirostat 1 estimates from; llama.cpp's own choice."""

_COLDEST = 1e-30
"""Below it, dividing by the temperature overflows 32-bit floats: not even close to a draw."""

_LEAST_THRESHOLD = 1.2e-38
"""The smallest normal 32-bit float. With 0, XTC would leave a token that a grammar forbids."""


def make_chain(prediction: PredictionConfig, vocab_size: int) -> int | None:
    """A chain to be freed by the caller, or None when the likeliest token is what it would give.

    At temperature 0, llama.cpp takes the likeliest of the tokens that the truncation leaves.
    top_k, top_p and min_p always leave the likeliest, mirostat ends with it; typical and XTC may
    not, so with those there is a chain at temperature 0, too.
    """
    if prediction.temperature < _COLDEST and _keeps_likeliest(prediction):
        return None
    parameters = native.llama_sampler_chain_default_params()
    parameters.no_perf = True
    chain: int = native.llama_sampler_chain_init(parameters)
    seed = choose_seed(prediction.seed)
    samplers = (
        _make_mirostat(prediction, vocab_size, seed)
        if prediction.mirostat
        else _make_draw(prediction, seed)
    )
    for sampler in samplers:
        native.llama_sampler_chain_add(chain, sampler)
    return chain


def _keeps_likeliest(prediction: PredictionConfig) -> bool:
    if prediction.mirostat:
        return True
    return prediction.typical_p == 1 and prediction.xtc_probability == 0


def _make_draw(prediction: PredictionConfig, seed: int) -> Iterator[int]:
    if prediction.top_k:
        yield native.llama_sampler_init_top_k(prediction.top_k)
    if prediction.typical_p < 1:
        yield native.llama_sampler_init_typical(prediction.typical_p, _AT_LEAST_ONE)
    if prediction.top_p < 1:
        yield native.llama_sampler_init_top_p(prediction.top_p, _AT_LEAST_ONE)
    if prediction.min_p > 0:
        yield native.llama_sampler_init_min_p(prediction.min_p, _AT_LEAST_ONE)
    if prediction.xtc_probability > 0:
        threshold = max(prediction.xtc_threshold, _LEAST_THRESHOLD)
        yield native.llama_sampler_init_xtc(
            prediction.xtc_probability, threshold, _AT_LEAST_ONE, seed
        )
    yield _make_temperature(prediction)
    yield native.llama_sampler_init_dist(seed)


def _make_mirostat(prediction: PredictionConfig, vocab_size: int, seed: int) -> Iterator[int]:
    tau, eta = prediction.mirostat_tau, prediction.mirostat_eta
    yield _make_temperature(prediction)
    if prediction.mirostat == 1:
        yield native.llama_sampler_init_mirostat(vocab_size, seed, tau, eta, _MIROSTAT_M)
    else:
        yield native.llama_sampler_init_mirostat_v2(seed, tau, eta)


def _make_temperature(prediction: PredictionConfig) -> int:
    temperature = prediction.temperature if prediction.temperature >= _COLDEST else 0.0
    sampler: int = native.llama_sampler_init_temp(temperature)
    return sampler


def choose_seed(seed: int | None) -> int:
    """The seed for llama.cpp. Its largest value means "random" there, so it becomes another."""
    if seed is None:
        return secrets.randbelow(native.LLAMA_DEFAULT_SEED)
    return seed if seed != native.LLAMA_DEFAULT_SEED else native.LLAMA_DEFAULT_SEED - 1
