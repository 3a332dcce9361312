"""llama.cpp's vocabulary as llguidance wants it: what each token adds to the text.

It knows no grammar. Unlike llguidance's own adapter it takes the bytes that readers of an answer
get: a token that llama.cpp does not render (control, unknown) is no text, whatever it is called.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

from llama_cpp import llama_cpp as native

from lmrun.engines.llama_cpp.constraints.refusals import ConstraintFailed
from lmrun.engines.llama_cpp.constraints.triggers import Candidates, find_candidates
from lmrun.engines.llama_cpp.vocabulary import Vocabulary
from lmrun.errors import EngineMissing

_PIECE_BYTES = 16 * 2**10
_SPECIAL = b"\xff"
"""llguidance's mark of a token that is no text; the byte begins no UTF-8 character."""

_MOST_CANDIDATES = 64
"""Sets of triggers whose tokens are kept; models have one, clients may invent others."""


def import_llguidance() -> Any:
    """The package. Raises EngineMissing when it is not installed."""
    try:
        import llguidance
    except ImportError as error:
        raise EngineMissing(
            f"Structured output needs the package llguidance: {error}.",
            hint="Install lmrun[llama-cpp].",
        ) from None
    return llguidance


class ConstraintTokens:
    """The tokenizer of one model. `tokenizer`: llguidance's; `pieces`: the bytes of each token.

    Pieces of tokens that are no text are what they are called, such as `<|im_end|>`. Making it
    takes about 0.3 s for 49,000 tokens; it may be used from any thread as long as the model lives.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        llguidance = import_llguidance()
        vocab = vocabulary.native
        self.size = vocabulary.size
        self.ends = [t for t in range(self.size) if native.llama_vocab_is_eog(vocab, t)]
        buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        texts = [_read_piece(vocab, token, buffer, special=False) for token in range(self.size)]
        names = {
            token: _read_piece(vocab, token, buffer, special=True)
            for token, text in enumerate(texts)
            if not text or token in self.ends
        }
        self.special = frozenset(names)
        self.pieces = [names.get(token, text) for token, text in enumerate(texts)]
        self._special_ids: dict[bytes, list[int]] = {}
        for token, name in names.items():
            self._special_ids.setdefault(name, []).append(token)
        self._ids = {text: token for token, text in enumerate(texts) if token not in names}
        self._candidates: dict[tuple[bytes, ...], Candidates] = {}
        self._longest = max(map(len, self._ids), default=0)
        tokenize = ctypes.cast(native._lib.llama_tokenize, ctypes.c_void_p).value
        self.tokenizer: Any = llguidance.LLTokenizer.from_llamacpp(
            tokens=[
                _SPECIAL + piece if token in names else piece
                for token, piece in enumerate(self.pieces)
            ],
            vocab_ptr=vocab,
            tokenize_fptr=tokenize,
            eos_token=self.ends,
            slices=None,
        )

    def find_candidates(self, triggers: tuple[bytes, ...]) -> Candidates:
        """Tokens that may complete one of `triggers`. The same ones come with every request."""
        known = self._candidates.get(triggers)
        if known is None:
            known = find_candidates(triggers, self.pieces)
            if len(self._candidates) < _MOST_CANDIDATES:
                self._candidates[triggers] = known
        return known

    def find_special(self, name: str) -> list[int]:
        """The tokens that are no text and are called `name`."""
        return self._special_ids.get(name.encode(), [])

    def split(self, text: bytes, special: Mapping[bytes, int] | None = None) -> list[int]:
        """Text tokens whose bytes are `text`, the longest first. `special`: texts at its beginning
        that are one token, though no text.

        Raises ConstraintFailed for a byte that no token has.
        """
        tokens: list[int] = []
        for name, token in (special or {}).items():
            if text.startswith(name):
                tokens, text = [token], text[len(name) :]
                break
        while text:
            length = next(
                (n for n in range(min(self._longest, len(text)), 0, -1) if text[:n] in self._ids), 0
            )
            if not length:
                raise ConstraintFailed(f"The vocabulary has no token for the byte {text[0]:#04x}.")
            tokens.append(self._ids[text[:length]])
            text = text[length:]
        return tokens


def _read_piece(vocab: int, token: int, buffer: ctypes.Array[Any], *, special: bool) -> bytes:
    count: int = native.llama_token_to_piece(vocab, token, buffer, _PIECE_BYTES, 0, special)
    return ctypes.string_at(buffer, count) if count > 0 else b""
