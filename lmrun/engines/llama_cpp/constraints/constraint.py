"""What one sequence may say next, token by token. It knows no notation: a matcher is given to it.

The matcher is llguidance's `LLMatcher`: it never raises, it stays in an error state, so its state
is asked for wherever a wrong answer would let unconstrained text through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmrun.engines.llama_cpp.constraints.free_text import FreeText
from lmrun.engines.llama_cpp.constraints.refusals import ConstraintFailed
from lmrun.engines.llama_cpp.constraints.tokens import ConstraintTokens

_BITS_PER_WORD = 32
_SOUND = frozenset({"NotStopped", "EndOfSentence", "NoExtension"})
"""llguidance's reasons to stop that mean a complete text; a limit that was hit is none of them."""

_IN_WORDS = {"NoExtensionBias": "nothing can come next"}


class Constraint:
    """The state of one answer. Every method may raise ConstraintFailed, which ends its sequence.

    After `free_text` the answer is free until a trigger's text is there; from then on the matcher
    reads on, the trigger's text first. `special`: triggers that the matcher reads as one token.
    """

    def __init__(
        self,
        matcher: Any,
        tokens: ConstraintTokens,
        free_text: FreeText | None = None,
        special: Mapping[bytes, int] | None = None,
    ) -> None:
        self._matcher = matcher
        self._tokens = tokens
        self._free_text = free_text
        self._special = special
        self._state = free_text.beginning if free_text is not None else None
        self._mask = np.zeros(-(-tokens.size // _BITS_PER_WORD), dtype=np.int32)
        self._mask_bytes = self._mask.view(np.uint8)
        self._mask_address = self._mask.ctypes.data

    def apply(self, logits: NDArray[np.float32]) -> None:
        """Set the logits of all tokens that may not come next to -inf. Shape: (vocabulary,)."""
        if self._free_text is not None and self._state is not None:
            banned = self._free_text.banned(self._state)
            if len(banned):
                logits[banned] = -np.inf
            return
        self._matcher.unsafe_compute_mask_ptr(self._mask_address, self._mask.nbytes)
        self._require_sound()
        if not self._mask.any():
            raise ConstraintFailed("The grammar allows no token of this vocabulary any more.")
        allowed = np.unpackbits(self._mask_bytes, count=len(logits), bitorder="little")
        np.copyto(logits, -np.inf, where=allowed == 0)

    def accept(self, token: int) -> None:
        """`token` has joined the answer."""
        if self._free_text is not None and self._state is not None:
            self._state, begin = self._free_text.advance(self._state, token)
            if begin is None:
                return
            self._state = None
            self._consume(self._tokens.split(begin, self._special))
            return
        self._consume([token])

    def forced(self, most: int) -> list[int]:
        """The next tokens, at most `most`, where the grammar leaves one text only. Not accepted.

        They are what the tokenizer makes of that text; one that could merge with what follows is
        left out.
        """
        if self._state is not None or most <= 0:
            return []
        tokens: list[int] = self._matcher.compute_ff_tokens()
        self._require_sound()
        return tokens[:most]

    def count_allowed(self, tokens: Sequence[int]) -> int:
        """How many of `tokens` would be accepted, one after the other. None is."""
        state = self._state
        if self._free_text is None or state is None:
            return self._validate(list(tokens))
        for index, token in enumerate(tokens):
            if token in self._free_text.banned(state):
                return index
            state, begin = self._free_text.advance(state, token)
            if begin is not None:
                read = self._tokens.split(begin, self._special)
                rest = list(tokens[index + 1 :])
                return index + 1 + max(0, self._validate(read + rest) - len(read))
        return len(tokens)

    @property
    def is_complete(self) -> bool:
        """Whether the answer may end here."""
        if self._state is not None:
            return True
        complete: bool = self._matcher.is_accepting()
        self._require_sound()
        return complete

    @property
    def must_end(self) -> bool:
        """Whether nothing but an end of the sequence may come next."""
        if self._state is not None or not self._matcher.is_stopped():
            return False
        self._require_sound()
        return True

    def _validate(self, tokens: list[int]) -> int:
        count: int = self._matcher.validate_tokens(tokens)
        self._require_sound()
        return count

    def _consume(self, tokens: list[int]) -> None:
        if not self._matcher.consume_tokens(tokens):
            self._require_sound()
            raise ConstraintFailed("The grammar did not take a token it had allowed.")

    def _require_sound(self) -> None:
        reason = self._matcher.stop_reason()
        if self._matcher.is_error():
            reason = self._matcher.get_error().partition("\n")[0]
        elif reason in _SOUND:
            return
        words = _IN_WORDS.get(reason, reason).rstrip(".")
        raise ConstraintFailed(f"The grammar cannot be followed any further: {words}.")
