"""What of an answer is enforced: calls as the request wants them, its structured output, or either.

Pure; it knows no single format.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lmrun.chat.formats.base import GRAMMAR_BEGIN
from lmrun.chat.formats.writing.grammars import write_json
from lmrun.chat.language import Language
from lmrun.chat.messages import Tool
from lmrun.chat.request import ToolChoice
from lmrun.errors import InvalidParameter, UnsupportedParameter
from lmrun.settings.structured import (
    MAX_GRAMMAR_BYTES,
    GrammarOutput,
    JsonOutput,
    StructuredOutput,
    ThoughtMarks,
)

ANSWER = "answer"
"""The rule of what the answer must be where it is no call."""

_ARGUMENTS = re.compile(r"arguments?_(\d+)(?:_\d+)?(?:_text)?")


def enforce_calls(
    language: Language,
    tools: Sequence[Tool],
    choice: ToolChoice,
    answer: StructuredOutput | None,
) -> StructuredOutput | None:
    """What an answer to `tools`, at least one, must look like; None when it is free. `answer`: what
    it must be where it is no call.

    Raises InvalidParameter for what cannot be enforced, UnsupportedParameter for an `answer` that
    cannot stand beside calls.
    """
    if answer is not None and not isinstance(answer, JsonOutput):
        raise UnsupportedParameter(
            f"`tools` go together with a JSON schema, not with a {answer.type}.",
            param="structured",
            hint='Use `tool_choice: "none"`, or leave one of the two out.',
        )
    if answer is None or choice.mode == "required":
        return _think_first(_make_grammar(language, tools, choice), language.thought)
    either = ToolChoice("required", parallel=choice.parallel)
    return _think_first(
        _or_answer(_make_grammar(language, tools, either), answer), language.thought
    )


def enforce_answer(language: Language, answer: StructuredOutput | None) -> StructuredOutput | None:
    """`answer`, behind the model's reasoning where it has marks for that."""
    return _think_first(answer, language.thought)


def _make_grammar(
    language: Language, tools: Sequence[Tool], choice: ToolChoice
) -> GrammarOutput | None:
    try:
        return language.tool_format.make_grammar(tools, choice)
    except InvalidParameter:
        if choice.mode == "required":
            raise
        return None


def _or_answer(calls: GrammarOutput | None, answer: JsonOutput) -> GrammarOutput:
    assert calls is not None, "what is required is enforced"
    begin = GRAMMAR_BEGIN.replace("calls", f"calls | {ANSWER}")
    rest = calls.grammar.removeprefix(GRAMMAR_BEGIN)
    grammar = f"{begin}{ANSWER}: {write_json(answer.json_schema)}\n{rest}"
    if len(grammar) > MAX_GRAMMAR_BYTES:
        raise InvalidParameter(
            "The schema and the tools together are too large to be enforced.", param="structured"
        )
    return calls.model_copy(update={"grammar": grammar})


def _think_first(
    structured: StructuredOutput | None, thought: ThoughtMarks | None
) -> StructuredOutput | None:
    if structured is None or thought is None or structured.thought is not None:
        return structured
    return structured.model_copy(update={"thought": thought})


def explain(error: InvalidParameter, tools: Sequence[Tool]) -> InvalidParameter:
    """An engine's refusal of what was enforced for `tools`, in the words of the request."""
    grammar, _, rule = str(error.param).partition(".")
    if grammar != "structured" or rule == ANSWER:
        return error if grammar != "structured" else _rename(error, error.message, "structured")
    found = _ARGUMENTS.fullmatch(rule)
    if found is None or int(found[1]) >= len(tools):
        return _rename(error, f"The tools cannot be enforced: {error.message}", "tools")
    name = tools[int(found[1])].name
    return _rename(error, f"The tool `{name}` cannot be enforced: {error.message}", "tools")


def _rename(error: InvalidParameter, message: str, param: str) -> InvalidParameter:
    return InvalidParameter(message, param=param, hint=error.hint)
