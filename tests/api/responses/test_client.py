"""The Responses API with OpenAI's own client: whole answers, stored and continued."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import openai
import pytest

from tests.api.responses.conftest import Live
from tests.support.http import wait_until


def test_it_answers(live: Live) -> None:
    answer = live.ask("hi", temperature=0.5, top_p=0.9, metadata={"a": "b"}, user="u")
    assert answer.output_text == "Hello there!"
    assert answer.id.startswith("resp_")
    assert (answer.object, answer.status, answer.model) == ("response", "completed", "assistant")
    assert (answer.error, answer.incomplete_details, answer.previous_response_id) == (None,) * 3
    (item,) = answer.output
    assert item.type == "message"
    assert (item.role, item.status, len(item.content)) == ("assistant", "completed", 1)
    assert (answer.temperature, answer.top_p, answer.metadata) == (0.5, 0.9, {"a": "b"})
    assert answer.completed_at is not None
    assert abs(answer.created_at - time.time()) < 60
    assert answer.usage is not None
    assert answer.usage.output_tokens == 4
    assert answer.usage.total_tokens == answer.usage.input_tokens + 4
    assert answer.usage.output_tokens_details.reasoning_tokens == 0


def test_a_setting_left_out_shows_what_was_used(live: Live) -> None:
    answer = live.ask("hi", model="one")
    assert (answer.temperature, answer.top_p, answer.truncation) == (0.25, 0.5, "disabled")
    assert answer.text is not None
    assert answer.text.format is not None
    assert answer.text.format.type == "text"


def test_a_cut_off_answer_is_incomplete(live: Live) -> None:
    answer = live.ask("hi", max_output_tokens=2)
    assert (answer.output_text, answer.status) == ("Hello", "incomplete")
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.completed_at is None
    (item,) = answer.output
    assert item.type == "message"
    assert item.status == "incomplete"


def test_an_answer_without_a_word_is_an_empty_message(live: Live) -> None:
    answer = live.ask("say nothing")
    assert (answer.output_text, answer.status, len(answer.output)) == ("", "completed", 1)


def test_instructions_come_first_and_are_one_with_system_messages(live: Live) -> None:
    assert live.ask("hi", instructions="Be brief").output_text == "Brief."
    messages = [{"role": "developer", "content": "Be kind"}, {"role": "user", "content": "hi"}]
    assert live.ask(messages, instructions="Be brief").output_text == "Brief and kind."


def test_a_response_is_continued_from_what_was_stored(live: Live) -> None:
    first = live.ask("I am Ada")
    second = live.ask("who?", previous_response_id=first.id)
    assert (second.output_text, second.previous_response_id) == ("Ada", first.id)
    third = live.ask("And who?", previous_response_id=second.id)
    assert third.output_text == "Ada"
    assert live.ask("who?").output_text == "Hello there!"


def test_two_responses_may_continue_one(live: Live) -> None:
    first = live.ask("I am Ada")
    for _ in range(2):
        assert live.ask("who?", previous_response_id=first.id).output_text == "Ada"


def test_instructions_are_not_carried_over(live: Live) -> None:
    first = live.ask("hi", instructions="Be brief")
    assert live.ask("hi", previous_response_id=first.id).output_text == "Hello there!"
    messages = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "hi"}]
    second = live.ask(messages)
    assert live.ask("hi", previous_response_id=second.id).output_text == "Brief."


def test_its_output_is_valid_input(live: Live) -> None:
    first = live.ask("I am Ada", store=False)
    conversation: list[Any] = [
        {"role": "user", "content": "I am Ada"},
        *(item.to_dict() for item in first.output),
        {"role": "user", "content": [{"type": "input_text", "text": "who?"}]},
    ]
    assert live.ask(conversation, store=False).output_text == "Ada"


def test_what_is_not_stored_cannot_be_continued(live: Live) -> None:
    first = live.ask("I am Ada", store=False)
    with pytest.raises(openai.BadRequestError) as caught:
        live.ask("who?", previous_response_id=first.id)
    assert caught.value.code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"
    with pytest.raises(openai.NotFoundError):
        live.client.responses.retrieve(first.id)


def test_reasoning_is_an_item_of_its_own(live: Live) -> None:
    answer = live.ask("hi", model="thinker")
    thought, message = answer.output
    assert thought.type == "reasoning"
    assert thought.content is not None
    assert ([part.text for part in thought.content], thought.summary) == (["hm"], [])
    assert (thought.status, message.type, answer.output_text) == ("completed", "message", "Yes.")
    assert answer.usage is not None
    assert answer.usage.output_tokens_details.reasoning_tokens == 2


def test_reasoning_goes_into_what_follows(live: Live) -> None:
    first = live.ask("hi", model="thinker")
    answer = live.ask("And?", model="thinker", previous_response_id=first.id)
    assert answer.output_text == "I did think."


def test_a_thought_that_was_cut_off_is_incomplete(live: Live) -> None:
    answer = live.ask("only think", model="thinker", max_output_tokens=3)
    (thought,) = answer.output
    assert thought.type == "reasoning"
    assert (thought.status, answer.status) == ("incomplete", "incomplete")
    assert live.ask("go on", model="thinker", previous_response_id=answer.id).output


def test_effort_none_turns_thinking_off(live: Live) -> None:
    answer = live.ask("hi", model="thinker", reasoning={"effort": "none"})
    assert answer.output_text == "No thought."
    assert answer.reasoning is not None
    assert answer.reasoning.effort == "none"


def test_an_effort_that_the_template_does_not_read_is_refused(live: Live) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        live.ask("hi", reasoning={"effort": "high"})
    assert caught.value.param == "reasoning.effort"


def test_the_prompts_tokens_can_be_counted(live: Live) -> None:
    counted = live.client.responses.input_tokens.count(model="assistant", input="hi")
    answer = live.ask("hi")
    assert answer.usage is not None
    assert (counted.object, counted.input_tokens) == (
        "response.input_tokens",
        answer.usage.input_tokens,
    )
    more = live.client.responses.input_tokens.count(
        model="assistant", input="hi", instructions="Be brief", previous_response_id=answer.id
    )
    assert more.input_tokens > counted.input_tokens + len("Be brief")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"model": "assistant", "top_logprobs": 2}, "top_logprobs"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "3"}]}, "input"),
        ({"input": []}, "input"),
        ({"extra_body": {"temprature": 1}}, "temprature"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format"),
    ],
)
def test_a_bad_parameter_is_a_bad_request(
    live: Live, parameters: dict[str, Any], param: str, stream: bool
) -> None:
    given = {"model": "assistant", "input": "hi", "stream": stream, **parameters}
    with pytest.raises(openai.BadRequestError) as caught:
        live.client.responses.create(**given)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_not_found(live: Live, stream: bool) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        live.client.responses.create(model="nobody", input="hi", stream=stream)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_beyond_the_context_is_a_bad_request(live: Live, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        live.client.responses.create(model="assistant", input="word " * 3000, stream=stream)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")


def test_a_failure_of_a_whole_answer_is_a_status_and_nothing_is_stored(live: Live) -> None:
    with pytest.raises(openai.InternalServerError, match=r"No more\.") as caught:
        live.ask("fail later")
    assert caught.value.type == "engine_error"


def test_a_failure_in_the_middle_ends_the_stream_with_a_failed_response(live: Live) -> None:
    *_, last = live.stream("fail later")
    assert last.type == "response.failed"
    assert (last.response.status, last.response.error.code) == ("failed", "server_error")
    assert "No more." in last.response.error.message
    with pytest.raises(openai.NotFoundError):
        live.client.responses.retrieve(last.response.id)


def test_a_killed_worker_ends_the_stream_with_a_failed_response(live: Live) -> None:
    instance = live.pool.instances["assistant"]
    pid = instance.pid
    assert pid is not None
    stream = live.client.responses.create(model="assistant", input="endless", stream=True)
    events = iter(stream)
    while next(events).type != "response.output_text.delta":
        pass
    os.kill(pid, signal.SIGKILL)
    *_, last = events
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.type == "engine_crashed"
    wait_until(lambda: instance.state == "ready" and instance.pid != pid, within_s=10)


def test_closing_a_stream_frees_its_sequence(live: Live) -> None:
    instance = live.pool.instances["assistant"]
    stream = live.client.responses.create(model="assistant", input="endless", stream=True)
    for _ in range(8):
        next(stream)
    assert (instance.in_flight, instance.active) == (1, 1)
    stream.close()
    assert wait_until(lambda: instance.in_flight == 0 and instance.active == 0) < 0.5
