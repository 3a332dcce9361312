"""How large a context becomes, out of the load config and what the model's file says.

Pure: it loads nothing and knows no pointer.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmrun.catalog.memory import DEFAULT_CONTEXT_LENGTH, SPARE_ROWS
from lmrun.errors import SettingRefused
from lmrun.settings.load import LoadConfig

_LARGEST_POOL = 2**31 - 1


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the model's file says. `scaled_from`: its context before RoPE scaling, where it has it.

    `rotary`: positions are RoPE's; else they are learned or absent.
    """

    trained_context: int
    rotary: bool
    scaled_from: int | None = None


@dataclass(frozen=True, slots=True)
class ContextShape:
    """How large a context is: `pool` KV cells for all sequences together.

    `unified`: one pool that any sequence may fill. `chunk`: prompt tokens of one step. `spare`:
    rows of a batch beyond a chunk and one token of each sequence, for tokens that are verified.
    `scratch`: sequence ids beyond `sequences`, for the prefix cache.
    """

    context_length: int
    sequences: int
    pool: int
    chunk: int
    unified: bool = True
    spare: int = 0
    scratch: int = 0

    @property
    def room(self) -> int:
        """KV cells that one sequence may fill."""
        return self.pool if self.unified else self.pool // self.sequences

    @property
    def capacity(self) -> int:
        """Rows of one batch."""
        return self.chunk + self.sequences + self.spare if self.spare else self.chunk

    @property
    def outputs(self) -> int:
        """Rows of one batch that may ask for logits."""
        return min(self.capacity, self.sequences + self.spare)


def choose_context_length(config: LoadConfig, facts: ModelFacts) -> int:
    """Tokens of one sequence. More than the model was trained for needs an explicit RoPE."""
    changes_rope = config.rope_frequency_base or config.rope_frequency_scale
    if changes_rope and not facts.rotary:
        name = "base" if config.rope_frequency_base else "scale"
        raise SettingRefused(
            f"load.rope_frequency_{name}: this model does not use RoPE.",
            param=f"load.rope_frequency_{name}",
            hint="Leave it out.",
        )
    if config.context_length is None:
        return min(facts.trained_context, DEFAULT_CONTEXT_LENGTH)
    if config.context_length > facts.trained_context and not changes_rope:
        hint = f"Set at most {facts.trained_context}"
        hint += ", or rope_frequency_base or rope_frequency_scale too." if facts.rotary else "."
        raise SettingRefused(
            f"load.context_length: {config.context_length} is more than the "
            f"{facts.trained_context} this model was trained for.",
            param="load.context_length",
            hint=hint,
        )
    return config.context_length


def shape_generation(config: LoadConfig, facts: ModelFacts, chunk: int) -> ContextShape:
    """A pool large enough for every sequence to fill its context."""
    length = choose_context_length(config, facts)
    pool = _choose_pool(config, length)
    unified = config.shares_cache and _may_unify(length, pool, facts)
    if not unified:
        _require_streams(config, length)
    return ContextShape(
        context_length=length,
        sequences=config.max_parallel_predictions,
        pool=pool,
        chunk=min(chunk, config.eval_batch_size),
        unified=unified,
        spare=SPARE_ROWS,
        scratch=1 if unified else 0,
    )


def shape_embedding(config: LoadConfig, facts: ModelFacts, most_sequences: int) -> ContextShape:
    """Each input must fit one physical batch: llama.cpp ends the process otherwise."""
    length = choose_context_length(config, facts)
    room = max(length, config.eval_batch_size)
    return ContextShape(
        context_length=length, sequences=min(room, most_sequences), pool=room, chunk=room
    )


def _choose_pool(config: LoadConfig, length: int) -> int:
    """KV cells for all sequences. Raises SettingRefused for too few and for too many."""
    if config.kv_tokens is not None and config.kv_tokens < length:
        raise SettingRefused(
            f"load.kv_tokens: {config.kv_tokens} cannot hold one sequence of {length} tokens.",
            param="load.kv_tokens",
            hint=f"Set at least {length}, or lower context_length.",
        )
    pool = config.kv_tokens or length * config.max_parallel_predictions
    if pool > _LARGEST_POOL:
        raise SettingRefused(
            f"load.context_length: {length} for each of {config.max_parallel_predictions} "
            f"predictions is more than the {_LARGEST_POOL} tokens llama.cpp can count.",
            param="load.context_length",
            hint="Lower it, or max_parallel_predictions, or set kv_tokens.",
        )
    return pool


def _require_streams(config: LoadConfig, length: int) -> None:
    """Raises SettingRefused where the pool is not one whole context for each sequence."""
    if config.unified_kv_cache:
        raise SettingRefused(
            "load.unified_kv_cache: this model chooses its RoPE factors by the size of the "
            "cache, so its sequences cannot share one.",
            param="load.unified_kv_cache",
            hint="Leave it out, or set a kv_tokens of one context_length.",
        )
    whole = length * config.max_parallel_predictions
    if config.kv_tokens not in (None, whole):
        raise SettingRefused(
            f"load.kv_tokens: with separate caches it is context_length x "
            f"max_parallel_predictions, {whole}, not {config.kv_tokens}.",
            param="load.kv_tokens",
            hint="Leave it out, or set `unified_kv_cache: true` where the model allows it.",
        )


def _may_unify(length: int, pool: int, facts: ModelFacts) -> bool:
    """Some models choose long or short RoPE factors by the pool's size: theirs is not shared."""
    return facts.scaled_from is None or not length <= facts.scaled_from < pool
