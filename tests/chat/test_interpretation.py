"""What a request means to a model: its template's view, what is enforced, how it is read."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.chat.interpretation import Interpretation, interpret
from lmrun.chat.language import Language, read_language
from lmrun.chat.messages import Message, ToolCall
from lmrun.chat.request import Request, Thinking, ToolChoice
from lmrun.errors import InvalidParameter, RequestError, UnsupportedParameter
from lmrun.settings.prediction import PredictionConfig
from lmrun.settings.structured import GrammarOutput, JsonOutput, ThoughtMarks
from tests.chat.recordings import read
from tests.chat.toolbox import TOOLS, make_tool
from tests.support.published_templates import published_templates

HELLO = (Message(role="user", content="Hello"),)
CALLED = (
    *HELLO,
    Message(role="assistant", content="", tool_calls=(ToolCall("a", "get_time", "{}"),)),
    Message(role="tool", content="noon", tool_call_id="a"),
)
WEATHER = (TOOLS["get_weather"], TOOLS["get_time"])
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
JSON = JsonOutput(type="json", json_schema=SCHEMA)
THINK = ThoughtMarks(start="<think>", end="</think>")


def language(template: str | None) -> Language:
    return read_language(published_templates()[template] if template else None)


PLAIN = language(None)
QWEN2 = language("Qwen-Qwen2.5-7B-Instruct")
QWEN3 = language("Qwen-Qwen3-0.6B")
LLAMA = language("meta-llama-Llama-3.2-3B-Instruct")
CODER = language("Qwen3-Coder")
HARMONY = language("openai-gpt-oss-120b")
MINISTRAL = language("mistralai-Ministral-3-14B-Reasoning-2512")
DEEPSEEK = language("deepseek-ai-DeepSeek-V3.1")


def mean(
    language: Language, prediction: dict[str, Any] | None = None, **request: Any
) -> Interpretation:
    asked = Request(request.pop("messages", HELLO), **request)
    return interpret(asked, language, PredictionConfig(**(prediction or {})))


def refusal(
    language: Language, prediction: dict[str, Any] | None = None, **request: Any
) -> RequestError:
    with pytest.raises(RequestError) as caught:
        mean(language, prediction, **request)
    return caught.value


def grammar(meaning: Interpretation) -> GrammarOutput:
    assert isinstance(meaning.structured, GrammarOutput)
    return meaning.structured


def test_a_plain_request_to_a_plain_model_passes_through() -> None:
    meaning = mean(PLAIN)
    assert meaning == Interpretation(meaning.conversation)
    assert meaning.conversation.messages == HELLO


def test_tools_are_shown_and_their_calls_read_and_enforced_lazily() -> None:
    meaning = mean(QWEN2, tools=WEATHER)
    assert meaning.conversation.tools == WEATHER
    assert grammar(meaning).triggers == ("<tool_call>",) and grammar(meaning).best_effort
    assert meaning.make_parser is not None and not meaning.reveals_special
    answer = read(meaning.make_parser(""), ['<tool_call>{"name": "get_time"}</tool_call>'])
    assert answer.tool_calls[0].name == "get_time"


def test_with_the_choice_none_no_tool_is_offered_and_all_text_is_the_message() -> None:
    meaning = mean(QWEN2, tools=WEATHER, tool_choice=ToolChoice("none"))
    assert meaning.conversation.tools == ()
    assert meaning.structured is None and meaning.make_parser is None


def test_a_required_call_is_enforced_from_the_beginning() -> None:
    wanted = grammar(mean(QWEN2, tools=WEATHER, tool_choice=ToolChoice("required")))
    assert not wanted.triggers and not wanted.best_effort
    assert "get_weather" in wanted.grammar and "get_time" in wanted.grammar


def test_a_named_tool_is_the_only_one_that_can_be_called_though_all_are_shown() -> None:
    meaning = mean(QWEN2, tools=WEATHER, tool_choice=ToolChoice("required", name="get_time"))
    assert meaning.conversation.tools == WEATHER
    assert "get_weather" not in grammar(meaning).grammar
    assert meaning.tools == WEATHER[1:]


def test_a_named_tool_is_called_once() -> None:
    meaning = mean(QWEN2, tools=WEATHER, tool_choice=ToolChoice("required", name="get_time"))
    once = ToolChoice("required", name="get_time", parallel=False)
    assert meaning.structured == mean(QWEN2, tools=WEATHER, tool_choice=once).structured
    several = mean(QWEN2, tools=WEATHER[1:], tool_choice=ToolChoice("required"))
    assert meaning.structured != several.structured


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ((), ToolChoice("required")),
        (WEATHER, ToolChoice("required", name="launch")),
        ((), ToolChoice("required", name="launch")),
    ],
)
def test_a_choice_of_tools_that_there_are_not_is_refused(tools: Any, choice: ToolChoice) -> None:
    error = refusal(QWEN2, tools=tools, tool_choice=choice)
    assert isinstance(error, InvalidParameter) and error.param == "tool_choice"


def test_a_model_whose_template_shows_no_tools_is_told_of_them_in_the_system_prompt() -> None:
    meaning = mean(PLAIN, tools=WEATHER)
    assert meaning.conversation.tools == ()
    assert "AVAILABLE TOOLS" in str(meaning.conversation.messages[0].content)
    assert grammar(meaning).triggers == ("[TOOL_REQUEST]",)


def test_earlier_calls_become_text_for_it_even_in_a_request_without_tools() -> None:
    meaning = mean(PLAIN, messages=CALLED)
    assert [m.role for m in meaning.conversation.messages] == ["user", "assistant", "user"]
    assert "[TOOL_REQUEST]" in str(meaning.conversation.messages[1].content)
    assert meaning.make_parser is None


def test_one_call_is_read_where_several_are_not_welcome_and_no_grammar_can_say_so() -> None:
    meaning = mean(LLAMA, tools=WEATHER, tool_choice=ToolChoice(parallel=False))
    assert meaning.structured is None and meaning.make_parser is not None
    call = '{"name": "get_time", "parameters": {}}'
    answer = read(meaning.make_parser(""), [f"{call}; {call}"])
    assert len(answer.tool_calls) == 1 and answer.text == ""


def test_a_call_or_the_json_of_the_response_format() -> None:
    wanted = grammar(mean(QWEN2, {"structured": JSON}, tools=WEATHER))
    assert wanted.grammar.startswith("start: calls | answer\n") and not wanted.triggers
    required = mean(QWEN2, {"structured": JSON}, tools=WEATHER, tool_choice=ToolChoice("required"))
    assert "answer:" not in grammar(required).grammar


def test_other_structured_output_cannot_stand_beside_calls() -> None:
    error = refusal(QWEN2, {"structured": {"type": "regex", "regex": "a"}}, tools=WEATHER)
    assert isinstance(error, UnsupportedParameter) and error.param == "structured"


def test_without_tools_structured_output_is_left_as_it_is() -> None:
    assert mean(QWEN2, {"structured": JSON}).structured == JSON
    none = mean(QWEN2, {"structured": JSON}, tools=WEATHER, tool_choice=ToolChoice("none"))
    assert none.structured == JSON


def test_a_model_that_reasons_does_so_before_what_is_enforced() -> None:
    for tools, choice in ((WEATHER, ToolChoice("required")), (WEATHER, ToolChoice())):
        assert grammar(mean(QWEN3, tools=tools, tool_choice=choice)).thought == THINK
    assert mean(QWEN3, {"structured": JSON}).structured == JSON.model_copy(
        update={"thought": THINK}
    )
    off = {"structured": JSON, "reasoning_parsing": {"enabled": False}}
    assert mean(QWEN3, off).structured in (None, JSON)


@pytest.mark.parametrize(
    ("template", "start"),
    [
        ("openai-gpt-oss-120b", "<|channel|>analysis<|message|>"),
        ("Cohere2MoE", "<|START_THINKING|>"),
        ("upstage-Solar-Open-100B", "<|think|>"),
    ],
)
def test_so_does_one_whose_format_reads_reasoning_by_itself(template: str, start: str) -> None:
    meaning = mean(language(template), {"structured": JSON})
    assert meaning.structured is not None and meaning.structured.thought is not None
    assert meaning.structured.thought.start == start
    said = f'{start}Hm.{meaning.structured.thought.end}{{"a":1}}'
    assert meaning.make_parser is not None
    answer = read(meaning.make_parser(""), [said])
    assert (answer.reasoning, answer.text) == ("Hm.", '{"a":1}')


def test_reasoning_is_read_without_tools_too_and_the_prompt_may_open_it() -> None:
    meaning = mean(QWEN3)
    assert meaning.make_parser is not None
    answer = read(meaning.make_parser("<|im_start|>assistant\n<think>\n"), ["Hm.</think>Four."])
    assert (answer.reasoning, answer.text) == ("Hm.", "Four.")


def test_reasoning_that_is_not_wanted_apart_stays_in_the_message() -> None:
    off = {"reasoning_parsing": {"enabled": False}}
    assert mean(QWEN3, off).make_parser is None
    inline = mean(HARMONY, off).make_parser
    assert inline is not None
    output = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Four."
    )
    answer = read(inline(""), [output])
    assert answer.reasoning == "" and answer.text.endswith("Four.") and "Hm." in answer.text


def test_a_request_may_name_the_marks_of_reasoning() -> None:
    marks = {"reasoning_parsing": {"start_string": "<<", "end_string": ">>"}}
    meaning = mean(PLAIN, marks)
    assert meaning.make_parser is not None and meaning.reveals_special
    answer = read(meaning.make_parser(""), ["<<Hm>>Four"])
    assert (answer.reasoning, answer.text) == ("Hm", "Four")


def test_control_tokens_are_revealed_where_markup_is_made_of_them() -> None:
    assert not mean(LLAMA).reveals_special
    assert mean(LLAMA, tools=WEATHER).reveals_special
    assert mean(MINISTRAL).reveals_special
    assert mean(HARMONY).reveals_special and mean(HARMONY).make_parser is not None


@pytest.mark.parametrize(
    ("model", "thinking", "variables"),
    [
        (QWEN3, Thinking(enabled=False), {"enable_thinking": False}),
        (QWEN3, Thinking(effort="none"), {"enable_thinking": False}),
        (QWEN3, Thinking(effort="none", enabled=True), {"enable_thinking": True}),
        (DEEPSEEK, Thinking(enabled=True), {"enable_thinking": True}),
        (HARMONY, Thinking(effort="high"), {"reasoning_effort": "high"}),
        (HARMONY, Thinking(effort="none"), {"reasoning_effort": "none"}),
        (QWEN2, Thinking(), {}),
    ],
)
def test_what_is_said_of_reasoning_reaches_the_template(
    model: Language, thinking: Thinking, variables: dict[str, Any]
) -> None:
    assert mean(model, thinking=thinking).conversation.variables == variables


@pytest.mark.parametrize(
    ("model", "thinking", "param"),
    [
        (QWEN2, Thinking(enabled=False), "enable_thinking"),
        (QWEN2, Thinking(effort="low"), "reasoning_effort"),
        (QWEN2, Thinking(effort="none"), "reasoning_effort"),
        (QWEN3, Thinking(effort="low"), "reasoning_effort"),
        (HARMONY, Thinking(enabled=True), "enable_thinking"),
    ],
)
def test_and_is_refused_where_the_template_does_not_read_it(
    model: Language, thinking: Thinking, param: str
) -> None:
    error = refusal(model, thinking=thinking)
    assert isinstance(error, UnsupportedParameter) and error.param == param


def test_further_variables_are_those_that_the_template_reads() -> None:
    chosen = {"date_string": "1 May 2025"}
    assert mean(LLAMA, variables=chosen).conversation.variables == chosen
    for name in ("enable_thinking", "messages", "tools", "bos_token"):
        error = refusal(LLAMA, variables={name: True})
        assert isinstance(error, UnsupportedParameter) and error.param == "chat_template_kwargs"
        assert "date_string" in str(error.hint)


def test_a_variable_of_any_length_is_refused_in_a_few_words() -> None:
    assert len(str(refusal(LLAMA, variables={"x" * 10_000: 1}))) < 500


PATTERN = make_tool("f", ("a",), a={"type": "string", "pattern": "^b+$"})


def test_a_tool_that_a_format_cannot_enforce_is_refused_by_name_where_it_must_be() -> None:
    error = refusal(CODER, tools=(PATTERN,), tool_choice=ToolChoice("required"))
    assert error.param == "tools" and "`f`" in error.message and "`pattern`" in error.message
    assert mean(CODER, tools=(PATTERN,)).structured is None
    assert grammar(mean(QWEN2, tools=(PATTERN,), tool_choice=ToolChoice("required")))


def test_tools_too_large_for_a_grammar_are_offered_but_cannot_be_forced() -> None:
    large = make_tool("f", a={"enum": ["x" * 1000 + str(n) for n in range(300)]})
    assert mean(QWEN2, tools=(large,)).structured is None
    error = refusal(QWEN2, tools=(large,), tool_choice=ToolChoice("required"))
    assert error.param == "tools"
