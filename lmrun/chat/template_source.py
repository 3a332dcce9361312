"""What the source of a chat template reads. Pure: the text is looked at, nothing is rendered.

It knows jinja's notation as far as names go: where code is, which names it defines and which not.
"""

from __future__ import annotations

import re

_OPENING = re.compile(r"\{[{%#]")
_CLOSINGS = {"{{": "}}", "{%": "%}", "{#": "#}"}
_STEP = re.compile(r"\\.|['\"]|[%}]\}", re.DOTALL)
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
_TOOLS = re.compile(r"(?<![\w.])tools\b")
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


def read_code(source: str) -> list[str]:
    """The statements and expressions of a template, their strings empty, on one line each.

    Every character is looked at a bounded number of times: a template is foreign text.
    """
    blocks: list[str] = []
    at = 0
    while opening := _OPENING.search(source, at):
        begin, closing = opening.end(), _CLOSINGS[opening[0]]
        is_comment = closing == "#}"
        end = source.find(closing, begin) if is_comment else _find_end(source, begin, closing)
        if end < 0:
            break
        if not is_comment:
            blocks.append(" ".join(_STRING.sub("''", source[begin:end]).split()))
        at = end + len(closing)
    return blocks


def _find_end(source: str, begin: int, closing: str) -> int:
    """Where `closing` stands outside of strings; -1 for nowhere."""
    quote = ""
    for step in _STEP.finditer(source, begin):
        if quote:
            quote = "" if step[0] == quote else quote
        elif step[0] in "'\"":
            quote = step[0]
        elif step[0] == closing:
            return step.start()
    return -1


def reads_tools(source: str) -> bool:
    """Whether a template shows tools to the model."""
    return any(_TOOLS.search(block) for block in read_code(source))


def find_variables(source: str) -> frozenset[str]:
    """Names that a template reads and does not define itself, or asks whether they are defined."""
    blocks = read_code(source)
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
