"""Regular expressions on text that others wrote: an answer in bounded time, or none. It knows
neither what is matched nor why.

Python's own `re` can take hours over thirty characters, and nothing else runs meanwhile.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache

import regex

MAX_TEXT_LENGTH = 64 * 1024
"""Longer text is not matched at all."""

BUDGET_S = 0.02

_BRACE_OF_NO_REPEAT = re.compile(r"(?:\\.|[^\\{])*?\{(?![0-9,])", re.DOTALL)


class BoundedMatcher:
    """Matches as often as its budget of processor time allows; made anew for each decision."""

    def __init__(self, budget_s: float = BUDGET_S) -> None:
        self._left_s = budget_s

    def matches_whole(self, pattern: str, text: str, *, dot_is_anything: bool) -> bool | None:
        """Whether `pattern` matches all of `text`; None when that cannot be told: too long, too
        slow, or no pattern. `dot_is_anything`: `.` matches ends of lines, too."""
        if len(text) > MAX_TEXT_LENGTH or self._left_s <= 0:
            return None
        begin = time.thread_time()
        try:
            compiled = _compile(pattern, dot_is_anything)
            return compiled.fullmatch(text, timeout=self._left_s) is not None
        except (TimeoutError, MemoryError, regex.error):
            return None
        finally:
            self._left_s -= time.thread_time() - begin


def find_regex_fault(pattern: str) -> str | None:
    """Why `pattern`, which Python's `re` takes, is not taken here; None when it is."""
    # `{` begins an approximate match in this library, which could match anything.
    if _BRACE_OF_NO_REPEAT.match(pattern):
        return "a `{` that begins no repetition like `{2,3}` is written `\\{` here"
    try:
        _compile(pattern, False)
    except (regex.error, OverflowError, RecursionError):
        return "is not understood where its time is bounded; write it more simply"
    return None


@lru_cache(maxsize=2048)
def _compile(pattern: str, dot_is_anything: bool) -> regex.Pattern[str]:
    return regex.compile(pattern, regex.V0 | (regex.DOTALL if dot_is_anything else 0))
