"""A tiny random llama model as a GGUF file, made from a seed. It knows nothing of lmrun.

About 1 MB: enough for speed, faults and exactness; what it says means nothing. Its vocabulary is
byte-level BPE, so every text can be tokenized and comes back unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.support.gguf_files import finish

END_OF_TEXT = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
CONTROL_TOKENS = (END_OF_TEXT, IM_START, IM_END)
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class TinyShape:
    """Sizes of the model. `vocab_size`: at least 259 (all bytes and three control tokens)."""

    layers: int = 4
    embedding: int = 64
    feed_forward: int = 192
    heads: int = 4
    kv_heads: int = 2
    vocab_size: int = 512
    context_length: int = 2048


def write_tiny_llama(
    path: Path,
    *,
    seed: int = 0,
    shape: TinyShape | None = None,
    name: str = "tiny-llama",
    chat_template: str | None = CHATML,
    markers: tuple[str, ...] = (),
) -> Path:
    """Write the model to `path` and return it; the same arguments give the same bytes.

    Control tokens are the last three ids (`<|endoftext|>`, `<|im_start|>`, `<|im_end|>`), the last
    one ends a generation and is hardly ever produced by itself: ask for it with a logit bias.
    `markers` are further control tokens, before those.
    """
    shape = shape or TinyShape()
    writer = gguf.GGUFWriter(path, "llama")
    _add_header(writer, shape, name, chat_template)
    add_tokenizer(writer, shape.vocab_size, markers)
    for tensor, values in _make_tensors(shape, np.random.default_rng(seed)):
        writer.add_tensor(tensor, values)
    finish(writer)
    return path


def _add_header(
    writer: gguf.GGUFWriter, shape: TinyShape, name: str, chat_template: str | None
) -> None:
    writer.add_name(name)
    writer.add_size_label("300K")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.embedding)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.embedding // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocab_size)
    if chat_template is not None:
        writer.add_chat_template(chat_template)


def add_tokenizer(writer: gguf.GGUFWriter, vocab_size: int, markers: tuple[str, ...] = ()) -> None:
    """The byte-level vocabulary, with the control tokens as its last three ids."""
    units = _byte_units()
    control = (*markers, *CONTROL_TOKENS)
    merges = _make_merges(units, vocab_size - len(units) - len(control))
    plain = [*units, *(merge.replace(" ", "") for merge in merges)]
    types = [gguf.TokenType.NORMAL] * len(plain) + [gguf.TokenType.CONTROL] * len(control)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*plain, *control])
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(vocab_size - 3)
    writer.add_eos_token_id(vocab_size - 1)
    writer.add_add_bos_token(False)


def _byte_units() -> list[str]:
    """GPT-2's printable stand-in for each byte (`bytes_to_unicode` of its encoder.py)."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = iter(range(256, 512))
    return [chr(byte if byte in printable else next(hidden)) for byte in range(256)]


def _make_merges(units: list[str], count: int) -> list[str]:
    """The first `count` pairs of frequent letters, as `left right`: most texts use some."""
    frequent = [units[byte] for byte in b" etaoinshrdlucmfw.,yg"]
    pairs = [f"{left} {right}" for left in frequent for right in frequent[1:]]
    if not 0 <= count <= len(pairs):
        raise ValueError(f"vocab_size must be 259 to {259 + len(pairs)}")
    return pairs[:count]


def _make_tensors(
    shape: TinyShape, random: np.random.Generator
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Every tensor of the llama architecture, as (name, rows x columns)."""
    kv_width = shape.embedding // shape.heads * shape.kv_heads
    ones = np.ones(shape.embedding, dtype=np.float32)

    def weights(rows: int, columns: int, gain: float = 1.0) -> NDArray[np.float32]:
        scaled = random.standard_normal((rows, columns), dtype=np.float32)
        scaled *= gain / columns**0.5
        return scaled

    yield "token_embd.weight", weights(shape.vocab_size, shape.embedding)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", ones
        yield f"{block}.attn_q.weight", weights(shape.embedding, shape.embedding, 2.0)
        yield f"{block}.attn_k.weight", weights(kv_width, shape.embedding, 2.0)
        yield f"{block}.attn_v.weight", weights(kv_width, shape.embedding, 2.0)
        yield f"{block}.attn_output.weight", weights(shape.embedding, shape.embedding, 2.0)
        yield f"{block}.ffn_norm.weight", ones
        yield f"{block}.ffn_gate.weight", weights(shape.feed_forward, shape.embedding, 2.0)
        yield f"{block}.ffn_up.weight", weights(shape.feed_forward, shape.embedding)
        yield f"{block}.ffn_down.weight", weights(shape.embedding, shape.feed_forward)
    yield "output_norm.weight", ones
    output = weights(shape.vocab_size, shape.embedding, 4.0)
    output[-len(CONTROL_TOKENS) :] = 0
    yield "output.weight", output
