"""A tiny random BERT as a GGUF file, of any pooling type, and what it must compute, in numpy.

Its words are single letters and a few syllables; what its vectors mean is nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_lowercase

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.support.gguf_files import finish

EMBEDDING, LAYERS, HEADS, FEED_FORWARD, CONTEXT = 32, 2, 4, 64, 64
EPSILON = 1e-12
START, SEPARATOR = 2, 3
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_SYLLABLES = ("ka", "lo", "mi", "ne", "ru")
_SPACE = "\u2581"
WORDS = (
    *_SPECIAL,
    *(_SPACE + letter for letter in ascii_lowercase),
    *ascii_lowercase,
    *(_SPACE + syllable for syllable in _SYLLABLES),
    *_SYLLABLES,
)

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class TinyBert:
    """`tensors`: every weight by its GGUF name, rows are outputs."""

    pooling: gguf.PoolingType
    tensors: dict[str, Matrix] = field(repr=False)

    def write(self, path: Path, *, labels: int = 1) -> Path:
        """The model as a file. `labels`: outputs of its classifier."""
        writer = gguf.GGUFWriter(path, "bert")
        self._add_header(writer)
        if labels > 1:
            writer.add_classifier_output_labels([f"label {number}" for number in range(labels)])
        for name, values in self.tensors.items():
            writer.add_tensor(name, values)
        finish(writer)
        return path

    def run(self, tokens: list[int]) -> Matrix:
        """The last layer's output for each token (arXiv:1810.04805; GELU as tanh)."""
        w = self.tensors
        x = w["token_embd.weight"][tokens] + w["token_types.weight"][0]
        x = self._normalise("token_embd_norm", x + w["position_embd.weight"][: len(tokens)])
        for layer in range(LAYERS):
            block = f"blk.{layer}"
            attended = self._apply(f"{block}.attn_output", self._attend(block, x))
            x = self._normalise(f"{block}.attn_output_norm", x + attended)
            hidden = _gelu(self._apply(f"{block}.ffn_up", x))
            x = self._normalise(
                f"{block}.layer_output_norm", x + self._apply(f"{block}.ffn_down", hidden)
            )
        return x

    def pool(self, tokens: list[int]) -> Matrix:
        """The unit vector of a text."""
        outputs = self.run(tokens)
        if self.pooling == gguf.PoolingType.MEAN:
            pooled = outputs.mean(axis=0)
        else:
            pooled = outputs[-1 if self.pooling == gguf.PoolingType.LAST else 0]
        unit: Matrix = pooled / np.linalg.norm(pooled)
        return unit

    def score(self, tokens: list[int]) -> float:
        """What the classification head says of the first token's output."""
        head = np.tanh(self._apply("cls", self.run(tokens)[:1]))
        return float(self._apply("cls.output", head)[0, 0])

    def _attend(self, block: str, x: Matrix) -> Matrix:
        width = EMBEDDING // HEADS
        query, key, value = (
            self._apply(f"{block}.attn_{name}", x).reshape(-1, HEADS, width) for name in "qkv"
        )
        weights = np.exp(np.einsum("ihd,jhd->hij", query, key) / width**0.5)
        weights /= weights.sum(axis=-1, keepdims=True)
        attended: Matrix = np.einsum("hij,jhd->ihd", weights, value).reshape(-1, EMBEDDING)
        return attended

    def _apply(self, name: str, x: Matrix) -> Matrix:
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def _normalise(self, name: str, x: Matrix) -> Matrix:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
        normal: Matrix = scaled * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]
        return normal

    def _add_header(self, writer: gguf.GGUFWriter) -> None:
        writer.add_name("tiny-bert")
        writer.add_context_length(CONTEXT)
        writer.add_embedding_length(EMBEDDING)
        writer.add_feed_forward_length(FEED_FORWARD)
        writer.add_block_count(LAYERS)
        writer.add_head_count(HEADS)
        writer.add_layer_norm_eps(EPSILON)
        writer.add_causal_attention(False)
        writer.add_pooling_type(self.pooling)
        control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
        writer.add_tokenizer_model("bert")
        writer.add_tokenizer_pre("jina-v2-en")
        writer.add_token_list(list(WORDS))
        writer.add_token_types([control if word in _SPECIAL else normal for word in WORDS])
        writer.add_token_type_count(2)
        writer.add_pad_token_id(0)
        writer.add_unk_token_id(1)
        writer.add_bos_token_id(START)
        writer.add_sep_token_id(SEPARATOR)
        writer.add_mask_token_id(4)


def make_tiny_bert(
    pooling: gguf.PoolingType, *, seed: int = 0, labels: int = 1, has_head: bool = True
) -> TinyBert:
    """Random weights; a classification head of `labels` outputs where `pooling` is RANK."""
    random = np.random.default_rng(seed)
    tensors: dict[str, Matrix] = {}

    def add(name: str, rows: int, columns: int, gain: float = 1.0) -> None:
        weights = random.standard_normal((rows, columns)) * gain / columns**0.5
        tensors[f"{name}.weight"] = weights.astype(np.float32)
        tensors[f"{name}.bias"] = (0.1 * random.standard_normal(rows)).astype(np.float32)

    def add_norm(name: str) -> None:
        tensors[f"{name}.weight"] = (1 + 0.1 * random.standard_normal(EMBEDDING)).astype(np.float32)
        tensors[f"{name}.bias"] = (0.1 * random.standard_normal(EMBEDDING)).astype(np.float32)

    for name, rows in (("token_embd", len(WORDS)), ("position_embd", CONTEXT), ("token_types", 2)):
        tensors[f"{name}.weight"] = random.standard_normal((rows, EMBEDDING)).astype(np.float32)
    add_norm("token_embd_norm")
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{layer}.{name}", EMBEDDING, EMBEDDING, 2.0)
        add_norm(f"blk.{layer}.attn_output_norm")
        add(f"blk.{layer}.ffn_up", FEED_FORWARD, EMBEDDING, 2.0)
        add(f"blk.{layer}.ffn_down", EMBEDDING, FEED_FORWARD)
        add_norm(f"blk.{layer}.layer_output_norm")
    if pooling == gguf.PoolingType.RANK:
        add("cls", EMBEDDING, EMBEDDING)
        if has_head:
            add("cls.output", labels, EMBEDDING)
    return TinyBert(pooling, tensors)


def _gelu(x: Matrix) -> Matrix:
    curve: Matrix = 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))
    return curve
