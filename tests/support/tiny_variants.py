"""Tiny random models of other kinds: recurrent state, sliding-window attention, experts.

They share the tiny llama's vocabulary. What they say means nothing; that they say it the same way
in every batch is what tests ask of them.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.support.gguf_files import finish
from tests.support.tiny_llama import add_tokenizer

EMBEDDING, LAYERS, VOCABULARY = 64, 2, 512
INNER, STATE, CONVOLUTION, RANK = 128, 16, 4, 4
WINDOW, HEADS, HEAD_WIDTH = 32, 4, 16

Matrix = NDArray[np.float32]


def write_tiny_mamba(path: Path) -> Path:
    """A recurrent model: a state per sequence instead of a KV cache."""
    writer = _start(path, "mamba")
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_ssm_conv_kernel(CONVOLUTION)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)
    random = np.random.default_rng(0)
    decay = -np.tile(np.arange(1, STATE + 1, dtype=np.float32), (INNER, 1))
    for layer in range(LAYERS):
        tensors = {
            "attn_norm.weight": _ones(EMBEDDING),
            "ssm_in.weight": _weights(random, 2 * INNER, EMBEDDING),
            "ssm_conv1d.weight": _weights(random, INNER, CONVOLUTION),
            "ssm_conv1d.bias": 0 * _ones(INNER),
            "ssm_x.weight": _weights(random, RANK + 2 * STATE, INNER),
            "ssm_dt.weight": _weights(random, INNER, RANK),
            "ssm_dt.bias": 0 * _ones(INNER),
            "ssm_a": decay,
            "ssm_d": _ones(INNER),
            "ssm_out.weight": _weights(random, EMBEDDING, INNER),
        }
        _add_block(writer, layer, tensors)
    return _finish(writer, random, path)


def write_tiny_gemma2(path: Path) -> Path:
    """A transformer whose every other layer sees only the last 32 tokens."""
    writer = _start(path, "gemma2")
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_key_length(HEAD_WIDTH)
    writer.add_value_length(HEAD_WIDTH)
    writer.add_sliding_window(WINDOW)
    writer.add_attn_logit_softcapping(50.0)
    writer.add_final_logit_softcapping(30.0)
    random = np.random.default_rng(0)
    for layer in range(LAYERS):
        tensors = {
            "attn_norm.weight": _ones(EMBEDDING),
            "attn_q.weight": _weights(random, EMBEDDING, EMBEDDING),
            "attn_k.weight": _weights(random, EMBEDDING, EMBEDDING),
            "attn_v.weight": _weights(random, EMBEDDING, EMBEDDING),
            "attn_output.weight": _weights(random, EMBEDDING, EMBEDDING),
            "post_attention_norm.weight": _ones(EMBEDDING),
            "ffn_norm.weight": _ones(EMBEDDING),
            "ffn_gate.weight": _weights(random, INNER, EMBEDDING),
            "ffn_up.weight": _weights(random, INNER, EMBEDDING),
            "ffn_down.weight": _weights(random, EMBEDDING, INNER),
            "post_ffw_norm.weight": _ones(EMBEDDING),
        }
        _add_block(writer, layer, tensors)
    return _finish(writer, random, path, tied=True)


def write_tiny_moe(path: Path, *, experts: int = 4, used: int = 2) -> Path:
    """A llama whose feed-forward layers are mixtures of experts."""
    writer = _start(path, "llama")
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(HEAD_WIDTH)
    writer.add_expert_count(experts)
    writer.add_expert_used_count(used)
    random = np.random.default_rng(0)
    for layer in range(LAYERS):
        tensors = {
            "attn_norm.weight": _ones(EMBEDDING),
            "attn_q.weight": _weights(random, EMBEDDING, EMBEDDING),
            "attn_k.weight": _weights(random, EMBEDDING, EMBEDDING),
            "attn_v.weight": _weights(random, EMBEDDING, EMBEDDING),
            "attn_output.weight": _weights(random, EMBEDDING, EMBEDDING),
            "ffn_norm.weight": _ones(EMBEDDING),
            "ffn_gate_inp.weight": _weights(random, experts, EMBEDDING),
            "ffn_gate_exps.weight": _weights(random, experts * INNER, EMBEDDING),
            "ffn_up_exps.weight": _weights(random, experts * INNER, EMBEDDING),
            "ffn_down_exps.weight": _weights(random, experts * EMBEDDING, INNER),
        }
        for name in ("ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight"):
            values = tensors[name]
            tensors[name] = values.reshape(experts, -1, values.shape[1])
        _add_block(writer, layer, tensors)
    return _finish(writer, random, path)


def _start(path: Path, architecture: str) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(f"tiny-{architecture}")
    writer.add_context_length(2048)
    writer.add_embedding_length(EMBEDDING)
    writer.add_block_count(LAYERS)
    writer.add_layer_norm_rms_eps(1e-5)
    add_tokenizer(writer, VOCABULARY)
    return writer


def _add_block(writer: gguf.GGUFWriter, layer: int, tensors: dict[str, Matrix]) -> None:
    for name, values in tensors.items():
        writer.add_tensor(f"blk.{layer}.{name}", values)


def _finish(
    writer: gguf.GGUFWriter, random: np.random.Generator, path: Path, *, tied: bool = False
) -> Path:
    """`tied`: the output layer is the embedding, there is no tensor for it."""
    writer.add_tensor("token_embd.weight", _weights(random, VOCABULARY, EMBEDDING))
    writer.add_tensor("output_norm.weight", _ones(EMBEDDING))
    if not tied:
        writer.add_tensor("output.weight", _weights(random, VOCABULARY, EMBEDDING))
    finish(writer)
    return path


def _ones(length: int) -> Matrix:
    return np.ones(length, dtype=np.float32)


def _weights(random: np.random.Generator, rows: int, columns: int) -> Matrix:
    scaled = random.standard_normal((rows, columns), dtype=np.float32)
    scaled *= 2 / columns**0.5
    return scaled
