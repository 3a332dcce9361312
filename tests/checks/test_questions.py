"""What a model is asked for a check."""

from __future__ import annotations

from lmrun.chat.messages import Message, Tool, ToolCall
from lmrun.checks.questions import make_load_question, to_question
from tests.checks.values import check


def test_a_prompt_is_what_the_user_says_and_the_answer_is_to_be_the_same_each_time() -> None:
    question = to_question(check(expect={"contains": "x"}))
    assert question.model == "assistant"
    assert question.prompt.messages == (Message("user", "Capital of France?"),)
    chosen = question.prediction.model_dump(include=question.prediction.model_fields_set)
    assert chosen == {"seed": 0, "deterministic": "strict"}


def test_what_the_check_chose_is_asked_for_and_nothing_else() -> None:
    question = to_question(
        check(
            seed=7,
            deterministic="off",
            prediction={"temperature": 0, "max_tokens": 5},
            expect={"contains": "x"},
        )
    )
    chosen = question.prediction.model_dump(include=question.prediction.model_fields_set)
    assert chosen == {"temperature": 0, "max_tokens": 5, "seed": 7, "deterministic": "off"}


def test_a_conversation_keeps_its_calls_and_results() -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "When?"},
        {"role": "assistant", "tool_calls": [{"id": "1", "name": "when", "arguments": {"n": 1}}]},
        {"role": "tool", "tool_call_id": "1", "content": "Today."},
    ]
    tools = {"when": {"description": "Tells when.", "parameters": {"type": "object"}}, "no": {}}
    question = to_question(
        check(messages=messages, tools=tools, tool_choice="required", expect={"contains": "x"})
    )
    assert question.prompt.messages == (
        Message("system", "Be kind."),
        Message("user", "When?"),
        Message("assistant", "", tool_calls=(ToolCall("1", "when", '{"n": 1}'),)),
        Message("tool", "Today.", tool_call_id="1"),
    )
    assert question.prompt.tools == (Tool("when", "Tells when.", {"type": "object"}), Tool("no"))
    assert question.prompt.tool_choice.mode == "required"


def test_requests_that_only_keep_a_model_busy_share_no_prompt_and_end() -> None:
    first, second = make_load_question("m", 1), make_load_question("m", 2)
    assert first.prompt != second.prompt
    assert first.prediction.max_tokens > 0
    assert first.prediction.deterministic == "off"
