"""How fast the llama.cpp engine decodes, beside a bare `llama_decode` loop in the same run.

    python -m benchmarks.engine MODEL.gguf [--repeats 7] [--tokens 64] [--threads N]

Both use the same file, threads, flash attention and context. Every repeat runs all scenarios one
after the other, so a busy machine slows them all; the table shows medians over the repeats and the
median of the ratios within a repeat. It knows neither worker nor server.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as native

from lmrun.engines.base import LoadedModel, SequenceSpec, TokenProduced
from lmrun.engines.llama_cpp.batch import Batch
from lmrun.engines.llama_cpp.engine import engine
from lmrun.engines.llama_cpp.loading import NativeModel, load_native
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig

STREAMS = 8
PROMPT = (
    "Once upon a time, in a small town by the sea, there lived an old clockmaker who could "
    "mend anything but his own watch. Every evening he"
)
GREEDY = PredictionConfig(temperature=0, repeat_penalty=1, logit_bias={})
DEFAULTS = PredictionConfig(seed=1)
SINGLE_BAR, BATCH_BAR, OVERHEAD_BAR_US = 0.95, 1.6, 150.0


@dataclass(frozen=True, slots=True)
class Repeat:
    """Tokens per second of each scenario in one repeat; overhead in µs per token."""

    bare: float
    single: float
    defaults: float
    batched: float
    overhead_us: float


def main() -> None:
    options = parse_arguments()
    config = LoadConfig(max_parallel_predictions=STREAMS, context_length=options.context)
    solo = config.model_copy(update={"max_parallel_predictions": 1})
    bare = load_native(options.model, solo, options.threads, lambda fraction: None)
    loaded = engine.load(
        options.model, config, threads=options.threads, on_progress=lambda fraction: None
    )
    repeats = [measure(bare, loaded, options.tokens) for _ in range(options.repeats + 1)][1:]
    print(render(repeats))
    loaded.close()
    bare.close()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def measure(bare: NativeModel, loaded: LoadedModel, tokens: int) -> Repeat:
    """All scenarios once, one after the other."""
    prompt = bare.vocabulary.tokenize(PROMPT, add_special=True, parse_special=False)
    bare_rate = run_bare(bare, prompt, tokens)
    single = run_engine(loaded, prompt, tokens, streams=1, prediction=without_end(GREEDY, loaded))
    sampled = without_end(DEFAULTS, loaded)
    return Repeat(
        bare=bare_rate,
        single=single,
        defaults=run_engine(loaded, prompt, tokens, streams=1, prediction=sampled),
        batched=run_engine(
            loaded, prompt, tokens, streams=STREAMS, prediction=without_end(GREEDY, loaded)
        ),
        overhead_us=1e6 * measure_overhead(loaded, prompt, tokens, DEFAULTS),
    )


def without_end(prediction: PredictionConfig, loaded: LoadedModel) -> PredictionConfig:
    """The same, never ending early: the end-of-text tokens are banned."""
    texts = {loaded.info.eos_token, "<|endoftext|>"}
    ends = [loaded.tokenize(text, add_special=False, parse_special=True) for text in texts if text]
    bias = {tokens[0]: -100.0 for tokens in ends if len(tokens) == 1}
    return prediction.model_copy(update={"logit_bias": bias})


def run_bare(bare: NativeModel, prompt: list[int], tokens: int) -> float:
    """Tokens per second of `llama_decode` and a greedy sampler chain, after the first token."""
    native.llama_memory_clear(bare.memory, False)
    batch = Batch(len(prompt))
    chain = native.llama_sampler_chain_init(native.llama_sampler_chain_default_params())
    native.llama_sampler_chain_add(chain, native.llama_sampler_init_greedy())
    for begin in range(0, len(prompt), bare.shape.chunk):
        batch.clear()
        part = np.array(prompt[begin : begin + bare.shape.chunk], dtype=np.int32)
        batch.add_slice(part, begin, 0, output="last")
        native.llama_decode(bare.context, batch.native)
    token = native.llama_sampler_sample(chain, bare.context, -1)
    begun = time.perf_counter()
    for position in range(len(prompt), len(prompt) + tokens - 1):
        batch.clear()
        batch.add_token(token, position, 0)
        native.llama_decode(bare.context, batch.native)
        token = native.llama_sampler_sample(chain, bare.context, -1)
    elapsed = time.perf_counter() - begun
    native.llama_sampler_free(chain)
    return (tokens - 1) / elapsed


def run_engine(
    loaded: LoadedModel,
    prompt: list[int],
    tokens: int,
    *,
    streams: int,
    prediction: PredictionConfig,
) -> float:
    """Tokens per second of all streams together, from the step on in which all stream."""
    start(loaded, prompt, -1, streams, prediction)
    while count_tokens(loaded) < streams:
        pass
    begun, produced = time.perf_counter(), 0
    while produced < (tokens - 1) * streams:
        produced += count_tokens(loaded)
    elapsed = time.perf_counter() - begun
    for sequence in range(streams):
        loaded.cancel(sequence)
    return produced / elapsed


def measure_overhead(
    loaded: LoadedModel, prompt: list[int], tokens: int, prediction: PredictionConfig
) -> float:
    """Seconds that a step of one stream takes outside llama.cpp, the median of all steps."""
    start(loaded, prompt, tokens, 1, prediction)
    seconds = []
    with stopwatch() as spent:
        while loaded.active or loaded.waiting:
            inside, begun = spent[0], time.perf_counter()
            loaded.step()
            seconds.append(time.perf_counter() - begun - (spent[0] - inside))
    return median(seconds)


def start(
    loaded: LoadedModel,
    prompt: list[int],
    tokens: int,
    streams: int,
    prediction: PredictionConfig,
) -> None:
    bounded = prediction.model_copy(update={"max_tokens": tokens})
    for sequence in range(streams):
        loaded.add(SequenceSpec(sequence, tuple(prompt), bounded))


def count_tokens(loaded: LoadedModel) -> int:
    return sum(isinstance(event, TokenProduced) for event in loaded.step())


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Adds up, in its one element, the seconds in `llama_decode` and the sampler chain."""
    spent = [0.0]
    names = ("llama_decode", "llama_synchronize", "llama_sampler_sample")
    plain = {name: getattr(native, name) for name in names}

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            begun = time.perf_counter()
            result = function(*arguments)
            spent[0] += time.perf_counter() - begun
            return result

        return call

    for name, function in plain.items():
        setattr(native, name, timed(function))
    try:
        yield spent
    finally:
        for name, function in plain.items():
            setattr(native, name, function)


def render(repeats: list[Repeat]) -> str:
    """The table, and whether each bar is met."""
    single = median(repeat.single / repeat.bare for repeat in repeats)
    defaults = median(repeat.defaults / repeat.bare for repeat in repeats)
    batched = median(repeat.batched / repeat.single for repeat in repeats)
    overhead = median(repeat.overhead_us for repeat in repeats)
    rows = [
        ("bare llama_decode loop", median(r.bare for r in repeats), "1.00x bare", ""),
        (
            "engine, one greedy stream",
            median(r.single for r in repeats),
            f"{single:.2f}x bare",
            _verdict(single >= SINGLE_BAR, f"≥ {SINGLE_BAR}"),
        ),
        (
            "engine, one stream, default sampling",
            median(r.defaults for r in repeats),
            f"{defaults:.2f}x bare",
            "",
        ),
        (
            f"engine, {STREAMS} greedy streams together",
            median(r.batched for r in repeats),
            f"{batched:.2f}x one stream",
            _verdict(batched >= BATCH_BAR, f"≥ {BATCH_BAR}"),
        ),
    ]
    lines = [f"{name:<52}{rate:8.1f} tok/s   {ratio:<20}{bar}" for name, rate, ratio, bar in rows]
    bar = _verdict(overhead <= OVERHEAD_BAR_US, f"≤ {OVERHEAD_BAR_US:.0f} µs")
    what = "Python per token, default sampling"
    lines.append(f"{what:<52}{overhead:8.1f} µs                           {bar}")
    return "\n".join(lines)


def _verdict(met: bool, bar: str) -> str:
    return f"{bar}: {'met' if met else 'MISSED'}"


if __name__ == "__main__":
    main()
