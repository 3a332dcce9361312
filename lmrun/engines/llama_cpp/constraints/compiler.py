"""What an answer must look like → a constraint for one sequence, or an error that says why not.

One compiler per loaded model, callable from any thread. It knows no batch and no sampling.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from lmrun.engines.llama_cpp.constraints.constraint import Constraint
from lmrun.engines.llama_cpp.constraints.deep_stack import run_deep
from lmrun.engines.llama_cpp.constraints.free_text import FreeText
from lmrun.engines.llama_cpp.constraints.grammars.characters import to_lark
from lmrun.engines.llama_cpp.constraints.grammars.gbnf import read_gbnf
from lmrun.engines.llama_cpp.constraints.grammars.lark import check_lark
from lmrun.engines.llama_cpp.constraints.markers import find_special, think_first, write_markers
from lmrun.engines.llama_cpp.constraints.patterns import check_regex
from lmrun.engines.llama_cpp.constraints.refusals import ConstraintFailed, refuse
from lmrun.engines.llama_cpp.constraints.schemas.keywords import TYPES
from lmrun.engines.llama_cpp.constraints.schemas.schema import clean_schema
from lmrun.engines.llama_cpp.constraints.tokens import ConstraintTokens, import_llguidance
from lmrun.engines.llama_cpp.constraints.triggers import Trigger
from lmrun.engines.llama_cpp.vocabulary import Vocabulary
from lmrun.errors import InvalidParameter
from lmrun.settings.structured import (
    ChoiceOutput,
    GrammarOutput,
    JsonOutput,
    RegexOutput,
    StructuredOutput,
)

_LIMITS = {
    "initial_lexer_fuel": 1_000_000,
    "step_lexer_fuel": 200_000,
    "max_lexer_states": 50_000,
    "max_grammar_size": 500_000,
    "verbose_errors": False,
}
SCHEMA_LIMITS = {**_LIMITS, "max_items_in_row": 20_000, "step_max_items": 100_000}
GRAMMAR_LIMITS = {**_LIMITS, "max_items_in_row": 1000, "step_max_items": 50_000}
"""llguidance's own limits, measured so that no step takes longer than about 50 ms. An object with
many optional properties has wide rows, but never ambiguous ones, unlike a client's own grammar."""

MakeGrammar = Callable[[Any, ConstraintTokens], str]
"""From llguidance's `LLMatcher` and the tokenizer to llguidance's own form of a grammar."""

_MAX_REASON_CHARACTERS = 300
_MOST_CHECKED_TOKENS = 1000
_COMPACT = {"whitespace_flexible": False}


class ConstraintCompiler:
    """Compiles for the model that `vocabulary` belongs to, as long as that is loaded."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._known_tokens: ConstraintTokens | None = None
        self._lock = threading.Lock()

    def compile(self, structured: StructuredOutput) -> Constraint:
        """A constraint at its beginning. The first call takes longer: it reads the vocabulary.

        Raises InvalidParameter for what cannot be enforced, EngineMissing without llguidance.
        """
        if not isinstance(structured, GrammarOutput) or not structured.best_effort:
            return self._compile(structured, _clean_inner_schema)
        try:
            return self._compile(structured, _clean_or_loosen)
        except InvalidParameter:
            return self._compile(structured, _loosen)

    def _compile(self, structured: StructuredOutput, clean: Callable[[Any], Any]) -> Constraint:
        grammar = _to_grammar(structured, clean)
        tokens = self._read_tokens()
        return run_deep(lambda: _make_constraint(grammar, structured, tokens))

    def _read_tokens(self) -> ConstraintTokens:
        with self._lock:
            if self._known_tokens is None:
                self._known_tokens = ConstraintTokens(self._vocabulary)
            return self._known_tokens


def _to_grammar(structured: StructuredOutput, clean: Callable[[Any], Any]) -> MakeGrammar:
    """How the grammar is made, once all limits are checked. `clean`: what becomes of a schema
    inside of a Lark grammar."""
    match structured:
        case JsonOutput(json_schema=schema):
            cleaned = _require_object(clean_schema(schema))
            return lambda matcher, tokens: str(
                matcher.grammar_from_json_schema(json.dumps(cleaned), overrides=_COMPACT)
            )
        case RegexOutput(regex=regex):
            check_regex(regex, "")
            return lambda matcher, tokens: str(matcher.grammar_from_regex(regex))
        case ChoiceOutput(choices=choices):
            lark = _write_choices(choices)
        case GrammarOutput(type="gbnf", grammar=grammar):
            lark = to_lark(read_gbnf(grammar))
        case GrammarOutput(grammar=grammar, markers=markers):
            lark = check_lark(grammar, clean)
            return lambda matcher, tokens: str(
                matcher.grammar_from_lark(lark + write_markers(markers, tokens))
            )
    return lambda matcher, tokens: str(matcher.grammar_from_lark(lark))


def _require_object(schema: dict[str, Any] | bool) -> dict[str, Any]:
    if schema is False:
        raise refuse("the schema is `false`, which nothing satisfies", at="#")
    return {} if schema is True else schema


def _clean_inner_schema(schema: Any) -> dict[str, Any]:
    return {**_require_object(clean_schema(schema)), "x-guidance": _COMPACT}


def _clean_or_loosen(schema: Any) -> dict[str, Any]:
    try:
        return _clean_inner_schema(schema)
    except InvalidParameter:
        return _loosen(schema)


def _loosen(schema: Any) -> dict[str, Any]:
    """What is left of a schema that cannot be enforced: the type, if it says one there is."""
    kind = schema.get("type") if isinstance(schema, dict) else None
    is_known = isinstance(kind, str) and kind in TYPES
    return {**({"type": kind} if is_known else {}), "x-guidance": _COMPACT}


def _write_choices(choices: tuple[str, ...]) -> str:
    """One lexeme, so that a choice which begins another one is told apart from it."""
    quoted = (json.dumps(choice).replace("\x7f", "\\u007f") for choice in choices)
    return f"start: CHOICE\nCHOICE: {' | '.join(quoted)}\n"


def _make_constraint(
    make_grammar: MakeGrammar, structured: StructuredOutput, tokens: ConstraintTokens
) -> Constraint:
    llguidance = import_llguidance()
    triggers = structured.triggers if isinstance(structured, GrammarOutput) else ()
    try:
        grammar = make_grammar(llguidance.LLMatcher, tokens)
        if structured.thought is not None and not triggers:
            grammar = think_first(grammar, structured.thought, tokens)
    except ValueError as error:
        raise _cannot(str(error)) from None
    is_schema = isinstance(structured, JsonOutput)
    limits = llguidance.LLParserLimits(**(SCHEMA_LIMITS if is_schema else GRAMMAR_LIMITS))
    matcher = llguidance.LLMatcher(tokens.tokenizer, grammar, log_level=0, limits=limits)
    if matcher.is_error():
        raise _cannot(matcher.get_error())
    if not triggers:
        _require_satisfiable(matcher, tokens)
        return Constraint(matcher, tokens)
    assert isinstance(structured, GrammarOutput)
    return _make_lazy(structured, matcher, tokens)


def _make_lazy(structured: GrammarOutput, matcher: Any, tokens: ConstraintTokens) -> Constraint:
    special = find_special(structured.markers, tokens)

    def is_allowed(begin: bytes) -> bool:
        read = tokens.split(begin, special)
        return bool(matcher.validate_tokens(read) == len(read))

    texts = [_encode(trigger) for trigger in structured.triggers]
    for text in texts:
        if not is_allowed(text):
            raise refuse(
                f"the grammar cannot begin with the trigger {text.decode()!r}",
                hint="The grammar reads the trigger's text, too.",
            )
    candidates = tokens.find_candidates(tuple(texts))
    trigger = Trigger(texts, tokens.pieces, is_allowed, candidates)
    thought = structured.thought
    if thought is None:
        return Constraint(matcher, tokens, FreeText(trigger, tokens.pieces), special)
    marks = (_encode(thought.start), _encode(thought.end))
    free_text = FreeText(trigger, tokens.pieces, marks, is_open=thought.is_open)
    return Constraint(matcher, tokens, free_text, special)


def _require_satisfiable(matcher: Any, tokens: ConstraintTokens) -> None:
    """As far as the first choice: what allows nothing there, or too much, is refused at once."""
    constraint = Constraint(matcher.deep_copy(), tokens)
    try:
        for token in constraint.forced(_MOST_CHECKED_TOKENS):
            constraint.accept(token)
        if not constraint.must_end:
            constraint.apply(np.zeros(tokens.size, dtype=np.float32))
    except ConstraintFailed as error:
        raise refuse(f"nothing can satisfy it: {error.message.rstrip('.')}") from None


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise refuse("a trigger holds a lone surrogate") from None


def _cannot(reason: str) -> Exception:
    """llguidance's own words, without the excerpts that follow them."""
    if "panic" in reason:
        return refuse("it is too large to be enforced")
    lines = [
        line.strip() for line in reason.splitlines() if line.strip() and not line.startswith("<")
    ]
    return refuse(f"it cannot be enforced: {'; '.join(lines)[:_MAX_REASON_CHARACTERS]}")
