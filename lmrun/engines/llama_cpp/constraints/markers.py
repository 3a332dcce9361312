"""Markup in a grammar that is a control token in some vocabularies and text in others, and the
reasoning that may precede what a grammar derives. It writes llguidance's Lark."""

from __future__ import annotations

import json
from collections.abc import Mapping

from lmrun.engines.llama_cpp.constraints.tokens import ConstraintTokens
from lmrun.settings.structured import ThoughtMarks

_MOST_SPACE = 8
"""Characters of white space between reasoning and what follows."""


def write_markers(markers: Mapping[str, str], tokens: ConstraintTokens) -> str:
    """A rule for each marker: the control tokens that its text holds, and the text between."""
    return "".join(f"\n{rule}: {_write(text, tokens)}\n" for rule, text in markers.items())


def find_special(markers: Mapping[str, str], tokens: ConstraintTokens) -> dict[bytes, int]:
    """Texts of markers that are control tokens, with their tokens."""
    found = {text: tokens.find_special(text) for text in markers.values()}
    return {text.encode(): ids[0] for text, ids in found.items() if ids}


def think_first(grammar: str, thought: ThoughtMarks, tokens: ConstraintTokens) -> str:
    """`grammar`, in llguidance's own form, behind reasoning: where `thought` is open that has begun
    already, else it may be there."""
    begin = "inside" if thought.is_open else "(open inside)?"
    if _find_special(thought.end, tokens)[1]:
        inside = f"inside: TEXT end space\nTEXT: /(.|\\n)*/\nend: {_write(thought.end, tokens)}"
    else:
        inside = f"inside: text space\ntext[suffix={_quote(thought.end)}]: /(.|\\n)*/"
    lark = (
        f"start: {begin} @answer\nopen: {_write(thought.start, tokens)}\n{inside}\n"
        f"space: /[ \\t\\r\\n]{{0,{_MOST_SPACE}}}/\n"
    )
    parts = json.loads(grammar)["grammars"] if grammar.startswith("{") else [_as_part(grammar)]
    parts[0]["name"] = "answer"
    return json.dumps({"grammars": [{"lark_grammar": lark}, *parts]})


def _as_part(lark: str) -> dict[str, str]:
    return {"lark_grammar": lark}


def _write(text: str, tokens: ConstraintTokens) -> str:
    """Control tokens and text, as `text` holds them one after the other."""
    parts: list[str] = []
    plain = begin = 0
    while begin < len(text):
        name, found = _find_special(text[begin:], tokens)
        if not found:
            begin += 1
            continue
        if begin > plain:
            parts.append(_quote(text[plain:begin]))
        parts.append(f"({' | '.join(f'<[{token}]>' for token in found)})")
        plain = begin = begin + len(name)
    if plain < len(text):
        parts.append(_quote(text[plain:]))
    return " ".join(parts)


def _find_special(text: str, tokens: ConstraintTokens) -> tuple[str, list[int]]:
    """The longest beginning of `text` that is a control token."""
    for length in range(len(text), 0, -1):
        found = tokens.find_special(text[:length])
        if found:
            return text[:length], found
    return "", []


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
