"""What the grammars of tool-call formats derive, read by the formats' own parsers."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from lmrun.chat.formats.base import ToolFormat
from lmrun.chat.formats.default import Default
from lmrun.chat.formats.objects.hermes import Hermes
from lmrun.chat.formats.objects.llama import Llama
from lmrun.chat.formats.objects.mistral import Mistral
from lmrun.chat.formats.tagged.qwen_coder import QwenCoder
from lmrun.chat.messages import Tool, ToolCall
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput, ThoughtMarks, open_thought
from tests.chat.recordings import read
from tests.chat.toolbox import make_tool
from tests.engines.llama_cpp.constraints.player import Player

TOOLS = [
    make_tool("get_time"),
    make_tool(
        "paint",
        ("colour", "sides"),
        colour={"type": "string", "enum": ["red", "dark green"]},
        sides={"type": "integer", "minimum": 3, "maximum": 12},
        is_filled="boolean",
        label={"type": "string", "maxLength": 4},
        corners={"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    ),
]
MARKS = ThoughtMarks(start="<think>", end="</think>")
each_format = pytest.mark.parametrize(
    "tool_format",
    (Default(), Hermes(), Llama(), Mistral(is_named=True), Mistral(is_named=False), QwenCoder()),
    ids=lambda each: each.name,
)


def require(tool_format: ToolFormat, tools: list[Tool], *, parallel: bool) -> GrammarOutput:
    grammar = tool_format.make_grammar(tools, ToolChoice("required", parallel=parallel))
    assert grammar is not None
    return grammar


def require_valid(calls: tuple[ToolCall, ...]) -> None:
    schemas = {tool.name: tool.parameters for tool in TOOLS}
    for call in calls:
        jsonschema.validate(json.loads(call.arguments), schemas[call.name])


@each_format
@pytest.mark.parametrize("seed", range(10))
def test_whatever_a_grammar_derives_is_a_call_that_satisfies_its_schema(
    tool_format: ToolFormat, player: Player, seed: int
) -> None:
    """In random answers, however unlikely a model would give them; one call, if several are not
    welcome."""
    constraint = player.compiler.compile(require(tool_format, TOOLS, parallel=False))
    said = player.play(constraint, seed, use_forced=bool(seed % 2))
    answer = read(tool_format.make_parser(TOOLS), [said])
    assert len(answer.tool_calls) == 1 and not answer.text, said
    assert answer.end is not None and answer.end.stop_reason == "toolCalls"
    require_valid(answer.tool_calls)


@each_format
def test_several_calls_are_welcome_unless_the_format_has_one_only(
    tool_format: ToolFormat, tiny_player: Player
) -> None:
    grammar = require(tool_format, TOOLS[:1], parallel=True)
    counts = set()
    for seed in range(20):
        said = tiny_player.play(tiny_player.compiler.compile(grammar), seed)
        counts.add(len(read(tool_format.make_parser(TOOLS), [said]).tool_calls))
    assert min(counts) == 1 and (max(counts) > 1) == (tool_format.name != "llama")


@each_format
def test_an_optional_call_begins_anywhere_and_is_well_formed(
    tool_format: ToolFormat, tiny_player: Player
) -> None:
    grammar = tool_format.make_grammar(TOOLS, ToolChoice("auto"))
    if tool_format.name == "llama":  # its calls have no marker that tells them from text
        assert grammar is None
        return
    assert grammar is not None
    constraint = tiny_player.compiler.compile(grammar)
    free = "So be it: " + grammar.triggers[0]
    for token in tiny_player.tokenize(free):
        assert constraint.is_complete and not constraint.must_end
        constraint.accept(token)
    said = free + tiny_player.play(constraint, 1)
    answer = read(tool_format.make_parser(TOOLS), [said])
    assert answer.tool_calls and answer.text == "So be it:", said
    require_valid(answer.tool_calls)


@pytest.mark.parametrize("kind", ["json", "regex", "choice", "lark", "gbnf"])
def test_reasoning_may_precede_whatever_is_enforced(kind: str, tiny_player: Player) -> None:
    outputs: dict[str, dict[str, Any]] = {
        "json": {"json_schema": {"const": "ab"}},
        "regex": {"regex": '"ab"'},
        "choice": {"choices": ['"ab"', "c"]},
        "lark": {"grammar": 'start: "\\"ab\\""'},
        "gbnf": {"grammar": 'root ::= "\\"ab\\""'},
    }
    thinking = {"type": kind, **outputs[kind], "thought": MARKS.model_dump()}
    for answer in ('"ab"', '<think>Any < text\n</think>\n\n"ab"', '<think></think>"ab"'):
        assert tiny_player.takes(tiny_player.compile(**thinking), answer), answer
    for answer in ('Any</think>"ab"', '<think>"ab"', '<think></think>x"ab"', "<think>"):
        assert not tiny_player.takes(tiny_player.compile(**thinking), answer), answer


@pytest.mark.parametrize("prompt", ["<|im_start|>assistant\n<think>\n", "x<think>"])
def test_where_the_prompt_opened_reasoning_the_answer_begins_inside(
    prompt: str, tiny_player: Player
) -> None:
    output = GrammarOutput(type="lark", grammar='start: "ab"', thought=MARKS)
    opened = open_thought(output, prompt)
    for answer, is_taken in (("Hm.</think>\nab", True), ("</think>ab", True), ("ab", False)):
        assert tiny_player.takes(tiny_player.compiler.compile(opened), answer) == is_taken
    assert open_thought(output, "<think></think>") == output
    assert open_thought(output, "What is <think>?\n<|im_start|>assistant\n") == output


@pytest.mark.parametrize("is_open", [True, False])
def test_a_trigger_inside_of_reasoning_is_none(is_open: bool, tiny_player: Player) -> None:
    marks = MARKS.model_copy(update={"is_open": is_open})
    output = GrammarOutput(
        type="lark", grammar='start: "<call>" /[0-9]/', triggers=("<call>",), thought=marks
    )
    begin = "" if is_open else "\n<think>"
    free = f"{begin}I may <call>x or <call> y.</think>No <cal."
    constraint = tiny_player.compiler.compile(output)
    tokens = [tiny_player.byte_token(value) for value in free.encode()]
    assert constraint.count_allowed(tokens) == len(tokens)
    tiny_player.accept(constraint, [], tokens)
    begun = [tiny_player.byte_token(value) for value in b"<call>x"]
    assert constraint.count_allowed(begun) == len(begun) - 1
    tiny_player.accept(constraint, [], begun[:-1])
    assert not constraint.is_complete


def test_before_reasoning_begins_a_trigger_counts_at_once(tiny_player: Player) -> None:
    output = GrammarOutput(
        type="lark", grammar='start: "<tool>" "!"', triggers=("<tool>",), thought=MARKS
    )
    constraint = tiny_player.compiler.compile(output)
    tokens = [tiny_player.byte_token(value) for value in b"<tool>!?"]
    assert constraint.count_allowed(tokens) == len(tokens) - 1


def test_a_marker_is_its_control_token_where_there_is_one(tiny_player: Player) -> None:
    output = GrammarOutput(
        type="lark",
        grammar='start: begin "a" end',
        markers={"begin": "<|im_start|>", "end": "<end>"},
    )
    constraint = tiny_player.compiler.compile(output)
    (control,) = tiny_player.vocabulary.tokenize(
        "<|im_start|>", add_special=False, parse_special=True
    )
    assert tiny_player.allowed(constraint).tolist() == [control]
    constraint.accept(control)
    assert tiny_player.takes(constraint, "a<end>")


def test_a_marker_may_hold_control_tokens_and_text(tiny_player: Player) -> None:
    text = "<|im_start|>to f<|im_start|>"
    output = GrammarOutput(type="lark", grammar='start: begin "a"', markers={"begin": text})
    constraint = tiny_player.compiler.compile(output)
    said = tiny_player.vocabulary.tokenize(text, add_special=False, parse_special=True)
    tiny_player.accept(constraint, [], said)
    assert tiny_player.takes(constraint, "a")


def test_reasoning_may_stand_between_control_tokens(tiny_player: Player) -> None:
    marks = ThoughtMarks(start="<|im_start|>think", end="<|im_start|>")
    output = GrammarOutput(type="lark", grammar='start: "ab"', thought=marks)
    for text, is_taken in (("<|im_start|>thinkHm.<|im_start|>\n", True), ("", True), ("Hm", False)):
        constraint = tiny_player.compiler.compile(output)
        said = tiny_player.vocabulary.tokenize(text, add_special=False, parse_special=True)
        read = constraint.count_allowed(said)
        assert (read == len(said)) == is_taken
        if is_taken:
            tiny_player.accept(constraint, [], said)
            assert tiny_player.takes(constraint, "ab")


@pytest.mark.parametrize("as_token", [True, False])
def test_a_trigger_finds_a_marker_as_token_and_as_text(as_token: bool, tiny_player: Player) -> None:
    output = GrammarOutput(
        type="lark",
        grammar='start: begin "a"',
        markers={"begin": "<|im_start|>"},
        triggers=("<|im_start|>",),
    )
    constraint = tiny_player.compiler.compile(output)
    said = tiny_player.vocabulary.tokenize(
        "so <|im_start|>", add_special=False, parse_special=as_token
    )
    tiny_player.accept(constraint, [], said)
    assert tiny_player.takes(constraint, "a")


def test_markers_belong_to_lark(tiny_player: Player) -> None:
    with pytest.raises(ValueError, match="`markers` goes with the type `lark` only"):
        GrammarOutput(type="gbnf", grammar='root ::= "a"', markers={"a": "b"})


def test_what_is_best_effort_leaves_out_a_schema_that_cannot_be_enforced(
    tiny_player: Player,
) -> None:
    grammar = 'start: %json {"type": "array", "not": {}, "maxItems": 2} "!"'
    error = tiny_player.refusal(type="lark", grammar=grammar)
    assert error.param == "structured.start"
    constraint = tiny_player.compile(type="lark", grammar=grammar, best_effort=True)
    assert tiny_player.takes(constraint, "[1,2,3]!")


def test_what_is_best_effort_leaves_out_a_type_that_there_is_not(tiny_player: Player) -> None:
    grammar = 'start: %json {"type": "strin"} "!"'
    assert "`type` must be" in tiny_player.refusal(type="lark", grammar=grammar).message
    constraint = tiny_player.compile(type="lark", grammar=grammar, best_effort=True)
    assert tiny_player.takes(constraint, '{"a":1}!')
