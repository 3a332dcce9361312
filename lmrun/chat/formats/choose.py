"""The formats there are, and which one a chat template asks for."""

from __future__ import annotations

import re

from lmrun.chat.formats.base import ToolFormat
from lmrun.chat.formats.default import Default
from lmrun.chat.formats.hermes import Hermes
from lmrun.chat.formats.llama import Llama
from lmrun.chat.formats.mistral import Mistral
from lmrun.chat.formats.qwen_coder import QwenCoder

FORMATS: tuple[ToolFormat, ...] = (
    QwenCoder(),
    Hermes(),
    Mistral(is_named=True),
    Mistral(is_named=False),
    Llama(),
)
"""The first that matches is chosen: what is a special case of another one stands before it."""

_READS_TOOLS = re.compile(r"\btools\b|\bxml_tools\b")
_REFUSES_SYSTEM = re.compile(r"raise_exception\(\s*['\"][^'\"]*[Ss]ystem (?:role|message)")


def choose_format(template: str | None) -> ToolFormat:
    """The format of the model with this chat template; None for one without."""
    source = template or ""
    for each in FORMATS:
        if each.matches(source):
            return each
    return Default(takes_system=_takes_system(source))


def _takes_system(source: str) -> bool:
    """Whether the template shows a system message: some refuse it, others count it as a user's who
    speaks out of turn."""
    if _REFUSES_SYSTEM.search(source):
        return False
    return "raise_exception" not in source or "system" in source
