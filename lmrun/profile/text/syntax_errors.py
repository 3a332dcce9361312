"""libyaml's complaints in plain words that say what would be right. It parses nothing."""

from __future__ import annotations

import yaml

_TAB = "a tab cannot indent YAML; use spaces"

# (a fragment of libyaml's problem, what to say, whether the mistake is where its context began)
_MEANINGS = (
    ("tab character", _TAB, False),
    (
        "mapping values are not allowed",
        "a `:` is not allowed here; check the indentation, or quote a text that contains `: `",
        False,
    ),
    ("could not find expected ':'", "a `:` is missing after this key", True),
    (
        "did not find expected key",
        "this does not continue what stands above; check the indentation, "
        "or quote a text with special characters",
        False,
    ),
    (
        "did not find expected ',' or '}'",
        "this `{…}` is not closed, or a `,` is missing; texts and references in it need quotes",
        False,
    ),
    (
        "did not find expected ',' or ']'",
        "this `[…]` is not closed, or a `,` is missing; texts and references in it need quotes",
        False,
    ),
    ("did not find expected '-'", "expected another `- ` entry; check the indentation", False),
    ("found unexpected end of stream", "this quote is never closed", True),
    ("found unexpected document indicator", "this quote is never closed", True),
    (
        "found unknown escape character",
        'unknown escape in "…"; write \\\\ for a backslash, or use single quotes',
        False,
    ),
    (
        "did not find expected alphabetic or numeric character",
        "a text that begins with `*` or `&` needs quotes",
        True,
    ),
    (
        "did not find expected <document start>",
        "the profile ends before this; only one document is allowed",
        False,
    ),
    ("did not find expected node content", "a value is missing here", False),
    ("block sequence entries are not allowed", "a `- ` entry is not allowed here", False),
    ("unknown directive", "directives (`%…`) are not allowed", True),
)


def explain(error: yaml.MarkedYAMLError, text: str, most_levels: int) -> tuple[str, int, int]:
    """What is wrong, and the line and column (from 1) to point at."""
    problem, mark = error.problem or "unreadable", error.problem_mark
    if "maximum nesting depth" in problem:
        # Newer releases have a limit of their own, beyond ours and found ahead of it.
        index = _find_level(text, most_levels + 1)
        before = text[:index]
        line, column = before.count("\n") + 1, index - before.rfind("\n")
        return f"nested deeper than {most_levels} levels", line, column
    if "cannot start any token" in problem and mark:
        message = _explain_character(text[mark.index : mark.index + 1])
    else:
        message, is_early = next(
            ((meaning, early) for fragment, meaning, early in _MEANINGS if fragment in problem),
            (f"is not valid YAML: {problem}", False),
        )
        mark = (error.context_mark if is_early else None) or mark
    return (message, mark.line + 1, mark.column + 1) if mark else (message, 1, 1)


def _find_level(text: str, level: int) -> int:
    """Where the bracket that opens this level stands. The mapping around counts as one."""
    depth = 1
    for index, character in enumerate(text):
        depth += (character in "[{") - (character in "]}")
        if depth == level:
            return index
    return 0


def _explain_character(character: str) -> str:
    if character == "\t":
        return _TAB
    return f"a text cannot begin with `{character}`; put it in quotes"
