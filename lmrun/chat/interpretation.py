"""What a request means to one model: what its template sees, what is enforced, how its answer is
read. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lmrun.chat.enforcement import enforce_answer, enforce_calls
from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.channels import find_open_mark
from lmrun.chat.formats.one_call import OneCall
from lmrun.chat.formats.plain import PlainParser
from lmrun.chat.language import Language
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.reasoning import InlineThoughts, ReasoningFormat, ReasoningParser
from lmrun.chat.request import Request, Thinking, ToolChoice
from lmrun.errors import InvalidParameter, UnsupportedParameter
from lmrun.settings.prediction import PredictionConfig, ReasoningParsing
from lmrun.settings.structured import StructuredOutput


@dataclass(frozen=True, slots=True)
class Interpretation:
    """`structured`: what to enforce instead of the prediction's own; None leaves that.
    `reveals_special`: control tokens are text, too. `make_parser`: reads the answer, given the
    prompt's last characters; None when all text is the message. `tools`: those that may be called,
    as what is enforced counts them."""

    conversation: Conversation
    structured: StructuredOutput | None = None
    reveals_special: bool = False
    make_parser: Callable[[str], Parser] | None = None
    tools: tuple[Tool, ...] = ()


def interpret(request: Request, language: Language, prediction: PredictionConfig) -> Interpretation:
    """What `request` means. Raises InvalidParameter for a choice of tools that there are not, and
    UnsupportedParameter for what the model's language has no words for."""
    tools = _choose_tools(request)
    conversation = Conversation(
        request.messages, tools=tools, variables=_choose_variables(request, language)
    )
    if tools or _speaks_of_calls(conversation):
        conversation = language.tool_format.adapt(conversation)
    parsing = prediction.reasoning_parsing
    language = _with_reasoning(language, parsing)
    return Interpretation(
        conversation,
        structured=_enforce(request, tools, language, prediction),
        reveals_special=_reveals_special(tools, language),
        make_parser=_make_parser_maker(request, tools, language, parsing),
        tools=_find_callable(request) if tools else (),
    )


def _choose_tools(request: Request) -> tuple[Tool, ...]:
    """The tools that the model is told of: with the choice `none` it is offered none."""
    choice = request.tool_choice
    if choice.mode == "required" and not request.tools:
        raise InvalidParameter(
            "`tool_choice` asks for a call, but there are no `tools`.", param="tool_choice"
        )
    if choice.name is not None and not _find_callable(request):
        raise InvalidParameter(
            f"`tool_choice` names the tool {choice.name!r}, which is none of `tools`.",
            param="tool_choice",
        )
    return () if choice.mode == "none" else request.tools


def _find_callable(request: Request) -> tuple[Tool, ...]:
    name = request.tool_choice.name
    return tuple(tool for tool in request.tools if name is None or tool.name == name)


def _choose_calls(request: Request) -> ToolChoice:
    """A tool that is asked for by its name is called once, as OpenAI's models do it."""
    choice = request.tool_choice
    return choice if choice.name is None else replace(choice, parallel=False)


def _speaks_of_calls(conversation: Conversation) -> bool:
    return any(each.tool_calls or each.role == "tool" for each in conversation.messages)


def _choose_variables(request: Request, language: Language) -> dict[str, Any]:
    for name in request.variables:
        if name not in language.variables:
            raise _not_read("chat_template_kwargs", f"no variable {name[:80]!r}", language)
    return {**request.variables, **_read_thinking(request.thinking, language)}


def _read_thinking(thinking: Thinking, language: Language) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    switch = next((n for n in ("enable_thinking", "thinking") if n in language.variables), None)
    enabled, effort = thinking.enabled, thinking.effort
    if effort == "none" and "reasoning_effort" not in language.variables and switch is not None:
        enabled, effort = (False if enabled is None else enabled), None
    if effort is not None:
        if "reasoning_effort" not in language.variables:
            raise _not_read("reasoning_effort", "no effort of reasoning", language)
        chosen["reasoning_effort"] = effort
    if enabled is not None:
        if switch is None:
            raise _not_read("enable_thinking", "no switch for reasoning", language)
        chosen[switch] = enabled
    return chosen


def _not_read(param: str, what: str, language: Language) -> UnsupportedParameter:
    known = ", ".join(sorted(language.variables)) or "none"
    return UnsupportedParameter(
        f"The model's chat template knows {what}.",
        param=param,
        hint=f"Variables that it reads: {known}.",
    )


def _with_reasoning(language: Language, parsing: ReasoningParsing) -> Language:
    """The marks that the prediction chooses, for models whose template does not tell."""
    if parsing.start_string is None or parsing.end_string is None:
        return language
    marks = ReasoningFormat(parsing.start_string, parsing.end_string, reveals_special=True)
    return replace(language, reasoning=marks)


def _enforce(
    request: Request,
    tools: Sequence[Tool],
    language: Language,
    prediction: PredictionConfig,
) -> StructuredOutput | None:
    if tools:
        tools = _find_callable(request)
        return enforce_calls(language, tools, _choose_calls(request), prediction.structured)
    if not prediction.reasoning_parsing.enabled:
        return None
    return enforce_answer(language, prediction.structured)


def _reveals_special(tools: Sequence[Tool], language: Language) -> bool:
    reads_format = bool(tools) or language.tool_format.has_channels
    of_format = reads_format and language.tool_format.reveals_special
    return of_format or (language.reasoning is not None and language.reasoning.reveals_special)


def _make_parser_maker(
    request: Request,
    tools: Sequence[Tool],
    language: Language,
    parsing: ReasoningParsing,
) -> Callable[[str], Parser] | None:
    reads_format = bool(tools) or language.tool_format.has_channels
    reasoning = language.reasoning if parsing.enabled else None
    if not reads_format and reasoning is None:
        return None

    def make_parser(prompt_end: str) -> Parser:
        parser: Parser = language.tool_format.make_parser(tools) if reads_format else PlainParser()
        if language.tool_format.has_channels:
            parser.push(find_open_mark(prompt_end))
        if tools and not _choose_calls(request).parallel:
            parser = OneCall(parser)
        if reasoning is not None:
            return ReasoningParser(reasoning, parser, is_open=reasoning.is_open(prompt_end))
        return parser if parsing.enabled else InlineThoughts(parser)

    return make_parser
