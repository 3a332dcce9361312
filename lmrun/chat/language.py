"""How one model speaks, read from its chat template's own text. Pure; it renders nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from lmrun.chat.formats.base import ToolFormat
from lmrun.chat.formats.choose import choose_format
from lmrun.chat.reasoning import ReasoningFormat, choose_reasoning

_CODE = re.compile(r"\{[{%]((?:'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|[^'\"])*?)[%}]\}", re.DOTALL)
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_STRING = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_NAME = re.compile(r"(?<![\w.])([A-Za-z_]\w*)(?!\w|\s*\(|\s*=(?!=))")
_ASKED = re.compile(
    r"(?<![\w.])([A-Za-z_]\w*)\s+is\s+(?:not\s+)?(?:un)?defined\b"
    r"|(?<![\w.])([A-Za-z_]\w*)\s*\|\s*d(?:efault)?\b"
)
_SET = re.compile(r"^[-+\s]*set\s+([\w\s,]+?)\s*(?:=|[-+]?$)")
_FOR = re.compile(r"^[-+\s]*for\s+([\w\s,()]+?)\s+in\b")
_MACRO = re.compile(r"^[-+\s]*macro\s+(\w+)\s*\((.*)\)\s*[-+]?$", re.DOTALL)
_TEST_OR_FILTER = re.compile(r"\bis\s+(?:not\s+)?\w+|\|\s*\w+|\bfilter\s+\w+")
_WORD = re.compile(r"[A-Za-z_]\w*")

_KEYWORDS = frozenset(
    _WORD.findall(
        """
        and or not in is if else elif endif for endfor set endset macro endmacro call
        endcall filter endfilter block endblock generation endgeneration break continue do
        recursive namespace true false none True False None loop self caller varargs kwargs
        range dict raise_exception strftime_now cycler joiner lipsum ignore missing with
        without context import from include
        """
    )
)
_GIVEN = frozenset({"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"})
"""What every template gets; not for a request to choose."""


@dataclass(frozen=True, slots=True)
class Language:
    """`reasoning`: None where the model has no marks for it, or its tool format reads them.
    `variables`: those that a request may choose, since the template reads them."""

    tool_format: ToolFormat
    reasoning: ReasoningFormat | None = None
    variables: frozenset[str] = frozenset()


@lru_cache(maxsize=64)
def read_language(template: str | None) -> Language:
    """The language of the model with this chat template, None for one without."""
    source = template or ""
    tool_format = choose_format(template)
    reasoning = None if tool_format.has_channels else choose_reasoning(source)
    return Language(tool_format, reasoning, find_variables(source))


def find_variables(source: str) -> frozenset[str]:
    """Names that a template reads and does not define itself, or asks whether they are defined."""
    blocks = [_STRING.sub("''", block) for block in _CODE.findall(_COMMENT.sub("", source))]
    read: set[str] = set()
    asked: set[str] = set()
    bound: set[str] = set()
    parameters: set[str] = set()
    for block in blocks:
        bound |= _find_bound(block)
        if found := _MACRO.search(block):
            parameters |= {found[1], *_WORD.findall(found[2])}
        asked |= {first or second for first, second in _ASKED.findall(block)}
        read |= set(_NAME.findall(_TEST_OR_FILTER.sub(" ", block)))
    return frozenset(((read - bound) | asked) - parameters - _KEYWORDS - _GIVEN)


def _find_bound(block: str) -> set[str]:
    """Names that a statement defines."""
    bound: set[str] = set()
    for pattern in (_SET, _FOR):
        if found := pattern.search(block):
            bound |= set(_WORD.findall(found[1]))
    return bound
