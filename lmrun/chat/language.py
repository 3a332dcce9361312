"""How one model speaks, read from its chat template's own text. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_VARIABLES = ("enable_thinking", "reasoning_effort", "thinking")


@dataclass(frozen=True, slots=True)
class Language:
    """`variables`: optional ones that the template reads."""

    variables: frozenset[str] = frozenset()


@lru_cache(maxsize=64)
def read_language(template: str | None) -> Language:
    """The language of the model with this chat template, None for one without."""
    source = template or ""
    return Language(frozenset(name for name in _VARIABLES if re.search(rf"\b{name}\b", source)))
