"""A model's vocabulary: text to tokens and back. It knows no context and no sequence."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cached_property

from llama_cpp import llama_cpp as native

from lmrun.errors import InvalidParameter

_NONE = -1
_PIECE_BYTES = 64
_LOSSLESS = (native.LLAMA_VOCAB_TYPE_BPE, native.LLAMA_VOCAB_TYPE_SPM)
_UNREAD = b"\xff unread"


class Vocabulary:
    """`tokenize` and `detokenize` may be called from any thread; the rest from one only."""

    def __init__(self, vocab: int) -> None:
        self._vocab = vocab
        self.size: int = native.llama_vocab_n_tokens(vocab)
        self._pieces: list[bytes | None] = [_UNREAD] * self.size
        self._rendered: dict[int, bytes] = {}

    @property
    def native(self) -> int:
        """llama.cpp's own vocabulary, valid as long as the model."""
        return self._vocab

    @property
    def bos_text(self) -> str:
        return self._text_of(native.llama_vocab_bos(self._vocab))

    @property
    def eos_text(self) -> str:
        return self._text_of(native.llama_vocab_eos(self._vocab))

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids. Raises InvalidParameter for a lone surrogate, which is no text."""
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise InvalidParameter(
                f"The text holds a lone surrogate at character {error.start}.", param="prompt"
            ) from None
        room = len(data) + 8
        while True:
            tokens = (ctypes.c_int32 * room)()
            count: int = native.llama_tokenize(
                self._vocab, data, len(data), tokens, room, add_special, parse_special
            )
            if count >= 0:
                return tokens[:count]
            room = -count

    def count_at_least(self, text: str) -> int:
        """As many tokens as if all were the longest one; 0 for the kinds of vocabularies that
        shorten a text first."""
        if native.llama_vocab_type(self._vocab) not in _LOSSLESS:
            return 0
        return len(text.encode(errors="replace")) // self._longest_bytes

    @cached_property
    def _longest_bytes(self) -> int:
        """Of a token's text as the vocabulary has it, which is never shorter than what it says."""
        texts = (native.llama_vocab_get_text(self._vocab, token) for token in range(self.size))
        return max(map(len, texts))

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        """The bytes of `tokens`, special ones rendered."""
        self.require_known(tokens, "tokens")
        if native.llama_vocab_type(self._vocab) == native.LLAMA_VOCAB_TYPE_BPE:
            # llama_detokenize would drop the spaces before punctuation for some of these.
            return b"".join(self._read_piece(token, special=True) for token in tokens)
        ids = (ctypes.c_int32 * len(tokens))(*tokens)
        room = 8 * len(tokens) + _PIECE_BYTES
        while True:
            buffer = ctypes.create_string_buffer(room)
            count: int = native.llama_detokenize(
                self._vocab, ids, len(tokens), buffer, room, False, True
            )
            if count >= 0:
                return buffer.raw[:count]
            room = -count

    def piece(self, token: int) -> bytes | None:
        """What a generated token adds to a text, nothing for control tokens; None ends it."""
        known = self._pieces[token]
        if known is _UNREAD:
            ends = native.llama_vocab_is_eog(self._vocab, token)
            known = self._pieces[token] = None if ends else self._read_piece(token)
        return known

    def render(self, token: int) -> bytes:
        """A token's own bytes, special ones rendered: what stands for it in a list of tokens."""
        known = self._rendered.get(token)
        if known is None:
            known = self._rendered[token] = self._read_piece(token, special=True)
        return known

    def require_known(self, tokens: Sequence[int], param: str) -> None:
        """Raises InvalidParameter: llama.cpp ends the process for an id it does not know."""
        if tokens and (min(tokens) < 0 or max(tokens) >= self.size):
            wrong = next(token for token in tokens if not 0 <= token < self.size)
            raise InvalidParameter(
                f"{param}: the vocabulary has no token {wrong}.",
                param=param,
                hint=f"Token ids go from 0 to {self.size - 1}.",
            )

    def find_difference(self, other: Vocabulary, count: int) -> str | None:
        """How the first `count` tokens of two vocabularies differ, in words; None if they do not.

        Raises nothing; callable from the owning thread only.
        """
        kinds = [native.llama_vocab_type(it._vocab) for it in (self, other)]
        if kinds[0] != kinds[1]:
            return "they are of different kinds"
        for token in range(count):
            ours, theirs = (native.llama_vocab_get_text(it._vocab, token) for it in (self, other))
            if ours != theirs:
                return f"token {token} is {_show(ours)} and {_show(theirs)}"
        return None

    def _read_piece(self, token: int, *, special: bool = False) -> bytes:
        room = _PIECE_BYTES
        while True:
            buffer = ctypes.create_string_buffer(room)
            count: int = native.llama_token_to_piece(self._vocab, token, buffer, room, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            room = -count

    def _text_of(self, token: int) -> str:
        if token == _NONE:
            return ""
        text: bytes = native.llama_vocab_get_text(self._vocab, token)
        return text.decode(errors="replace")


def _show(text: bytes) -> str:
    return repr(text.decode(errors="replace")[:40])
