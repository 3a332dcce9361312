"""Log probabilities on their way out: each goes with the text that its token begins. Pure.

It knows no stop string and no frame.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterable

from lmrun.chat.events import TokenLogprob
from lmrun.engines.base import TokenLogprob as EngineLogprob


class LogprobQueue:
    """Tokens whose text is not given out yet."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[TokenLogprob, bool]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, token: EngineLogprob, offset: int, *, has_text: bool) -> None:
        """`offset`: characters of the text before it."""
        self._waiting.append((to_logprob(token, offset), has_text))

    def release(self, until: int) -> tuple[TokenLogprob, ...]:
        """Those whose text begins before `until`; at `until`, too, if they have none."""
        waiting = self._waiting
        released = []
        while waiting:
            token, has_text = waiting[0]
            if token.offset > until or (has_text and token.offset == until):
                break
            released.append(token)
            waiting.popleft()
        return tuple(released)


def to_logprob(token: EngineLogprob, offset: int) -> TokenLogprob:
    """The engine's word for it in that of the events."""
    top = tuple(TokenLogprob(each.piece, each.logprob) for each in token.top)
    return TokenLogprob(token.piece, token.logprob, offset, top)


def list_prompt(first: bytes, rest: Iterable[EngineLogprob]) -> tuple[TokenLogprob, ...]:
    """A prompt's tokens with their offsets. `first`: its first token's bytes; it has no logprob."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    listed = [TokenLogprob(first, None)]
    offset = len(decoder.decode(first))
    for token in rest:
        listed.append(to_logprob(token, offset))
        offset += len(decoder.decode(token.piece))
    return tuple(listed)
