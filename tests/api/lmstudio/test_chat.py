"""/api/v1/chat on a real port: items, events in order, chats that go on, refusals by name."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from lmrun.chat.events import (
    MessageDelta,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallFailed,
    ToolCallStart,
)
from lmrun.chat.messages import ImagePart, Message
from lmrun.chat.request import Request
from lmrun.engines.base import ModelInfo
from lmrun.errors import EngineCrashed
from lmrun.settings.prediction import PredictionConfig
from tests.api.conftest import Served
from tests.api.lmstudio.sse import read_named_events
from tests.support.http import Reply
from tests.support.pictures import encode, noise
from tests.support.stand_in_pool import INFO

CHAT = "/api/v1/chat"


def chat(served: Served, **fields: Any) -> Reply:
    return served.port.ask("POST", CHAT, {"model": "assistant", "input": "hi", **fields})


def stream(served: Served, **fields: Any) -> list[tuple[str, dict[str, Any]]]:
    reply = chat(served, stream=True, **fields)
    assert reply.status == 200, reply.body
    return read_named_events(reply.body)


def messages(served: Served) -> tuple[Message, ...]:
    """What the model saw last."""
    prompt = served.pool.prompts[-1]
    assert isinstance(prompt, Request)
    return prompt.messages


def set_info(served: Served, **changes: Any) -> ModelInfo | None:
    """Give the stand-in another description; the former one."""
    instance = served.pool.instances["assistant"]
    before = instance.info
    instance.info = msgspec.structs.replace(INFO, **changes)
    return before


def test_an_answer_has_its_items_and_its_statistics(served: Served) -> None:
    answer = chat(served).json
    assert answer["model_instance_id"] == "assistant"
    assert answer["output"] == [{"type": "message", "content": "Hello world"}]
    stats = answer["stats"]
    assert (stats["input_tokens"], stats["total_output_tokens"]) == (3, 2)
    assert stats["reasoning_output_tokens"] == 0
    assert stats["tokens_per_second"] > 0
    assert stats["time_to_first_token_seconds"] >= 0
    assert "model_load_time_seconds" not in stats
    assert answer["response_id"].startswith("resp_")


def test_a_stream_has_named_events_and_ends_with_the_whole_answer(served: Served) -> None:
    events = stream(served)
    assert [name for name, _ in events] == [
        "chat.start",
        "prompt_processing.start",
        "prompt_processing.progress",
        "prompt_processing.end",
        "message.start",
        "message.delta",
        "message.delta",
        "message.end",
        "chat.end",
    ]
    assert all(document["type"] == name for name, document in events)
    assert events[0][1] == {"type": "chat.start", "model_instance_id": "assistant"}
    assert events[2][1]["progress"] == 1.0
    result = events[-1][1]["result"]
    assert result["output"] == [{"type": "message", "content": "Hello world"}]
    assert result["response_id"].startswith("resp_")


def test_reasoning_is_a_section_and_an_item_of_its_own(served: Served) -> None:
    served.pool.said = (ReasoningDelta("Let me"), ReasoningDelta(" see."), MessageDelta("Yes."))
    events = stream(served)
    assert [name for name, _ in events[4:]] == [
        "reasoning.start",
        "reasoning.delta",
        "reasoning.delta",
        "reasoning.end",
        "message.start",
        "message.delta",
        "message.end",
        "chat.end",
    ]
    result = events[-1][1]["result"]
    assert result["output"] == [
        {"type": "reasoning", "content": "Let me see."},
        {"type": "message", "content": "Yes."},
    ]
    assert result["stats"]["reasoning_output_tokens"] == 2


def test_reasoning_has_no_more_tokens_than_were_generated(served: Served) -> None:
    """Its text is tokenised again, and a model need not write the tokens that a tokeniser would."""
    served.pool.said = (ReasoningDelta("Let me see."), MessageDelta("Yes."))
    stats = chat(served).json["stats"]
    # The stand-in's tokens are bytes.
    assert stats["total_output_tokens"] < len("Let me see.")
    assert stats["reasoning_output_tokens"] == stats["total_output_tokens"]


def test_a_call_is_invalid_since_there_are_no_tools(served: Served) -> None:
    served.pool.said = (
        MessageDelta("So: "),
        ToolCallStart(0, "abc", "open_browser"),
        ToolCallArguments(0, "{}"),
        ToolCallStart(1, "def", "no_call"),
        ToolCallFailed(1, "[no call]"),
    )
    events = stream(served)
    failures = [document for name, document in events if name == "tool_call.failure"]
    assert failures == [
        {
            "type": "tool_call.failure",
            "reason": "Cannot find tool with name open_browser.",
            "metadata": {"type": "invalid_name", "tool_name": "open_browser"},
        }
    ]
    assert events[-1][1]["result"]["output"] == [
        {"type": "message", "content": "So: [no call]"},
        {**failures[0], "type": "invalid_tool_call"},
    ]


def test_a_chat_goes_on_and_may_branch(served: Served) -> None:
    first = chat(served, system_prompt="Be brief.", input="My favourite colour is blue.").json
    served.pool.pieces = ("Blue.",)
    second = chat(served, input="Which?", previous_response_id=first["response_id"]).json
    assert messages(served) == (
        Message("system", "Be brief."),
        Message("user", "My favourite colour is blue."),
        Message("assistant", "Hello world"),
        Message("user", "Which?"),
    )
    chat(served, input="And now?", previous_response_id=second["response_id"])
    assert [it.content for it in messages(served)][-3:] == ["Which?", "Blue.", "And now?"]
    chat(served, input="Else?", previous_response_id=first["response_id"], system_prompt="Sing.")
    assert [it.content for it in messages(served)] == [
        "Sing.",
        "My favourite colour is blue.",
        "Hello world",
        "Else?",
    ]


def test_what_was_thought_goes_on_with_the_chat(served: Served) -> None:
    served.pool.said = (ReasoningDelta("Hm."), MessageDelta("Yes."))
    first = chat(served).json
    chat(served, previous_response_id=first["response_id"])
    assert messages(served)[1] == Message("assistant", "Yes.", reasoning="Hm.")


def test_a_chat_that_is_not_stored_cannot_be_continued(served: Served) -> None:
    answer = chat(served, store=False).json
    assert "response_id" not in answer
    reply = chat(served, previous_response_id="resp_0123")
    assert (reply.status, reply.json["error"]["param"]) == (400, "previous_response_id")


def test_an_input_of_several_items_is_one_message(served: Served) -> None:
    items = [{"type": "text", "content": "a"}, {"type": "message", "content": "b"}]
    assert chat(served, input=items).status == 200
    assert messages(served) == (Message("user", "a\nb"),)


def test_an_image_is_in_its_place(served: Served) -> None:
    before = set_info(served, accepts_images=True)
    try:
        items = [{"type": "text", "content": "What?"}, {"type": "image", "data_url": picture()}]
        first = chat(served, input=items)
        assert first.status == 200
        chat(served, previous_response_id=first.json["response_id"])
    finally:
        served.pool.instances["assistant"].info = before
    content = messages(served)[0].content
    assert isinstance(content[1], ImagePart)


def test_a_model_without_sight_names_the_image(served: Served) -> None:
    items = [{"type": "text", "content": "What?"}, {"type": "image", "data_url": picture()}]
    reply = chat(served, input=items)
    assert (reply.status, reply.json["error"]["param"]) == (400, "input[1].data_url")


def picture() -> str:
    return "data:image/png;base64," + base64.b64encode(encode(noise(2, 2))).decode()


def test_settings_reach_the_engine_by_their_names(served: Served) -> None:
    chosen: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "min_p": 0.1,
        "repeat_penalty": 1.2,
        "deterministic": "strict",
    }
    assert chat(served, **chosen, max_output_tokens=9).status == 200
    assert served.pool.predictions[-1] == PredictionConfig(**chosen, max_tokens=9)


def test_reasoning_is_what_the_template_can_be_told(served: Served) -> None:
    before = set_info(served, chat_template="{{ enable_thinking }}")
    try:
        assert chat(served, reasoning="off").status == 200
        prompt = served.pool.prompts[-1]
        assert isinstance(prompt, Request)
        assert prompt.thinking.enabled is False
        reply = chat(served, reasoning="low")
    finally:
        served.pool.instances["assistant"].info = before
    error = reply.json["error"]
    assert (reply.status, error["param"]) == (400, "reasoning")
    assert "off, on" in error["message"]
    assert chat(served, reasoning="on").status == 400


def test_a_model_that_always_reasons_has_one_setting(served: Served) -> None:
    template = "{{ messages }}<think>\n</think>"
    before = set_info(served, chat_template=template)
    try:
        assert chat(served, reasoning="on").status == 200
        reply = chat(served, reasoning="off")
        (listed,) = served.port.ask("GET", "/api/v1/models").json["models"]
    finally:
        served.pool.instances["assistant"].info = before
    assert (reply.status, reply.json["error"]["param"]) == (400, "reasoning")
    assert listed["capabilities"]["reasoning"] == {"allowed_options": ["on"], "default": "on"}


def test_more_context_than_was_loaded_is_refused(served: Served) -> None:
    assert chat(served, context_length=4096).status == 200
    reply = chat(served, context_length=8000)
    assert (reply.status, reply.json["error"]["param"]) == (400, "context_length")
    assert "4096" in reply.json["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "param", "kind"),
    [
        ({"integrations": ["mcp/playwright"]}, "integrations[0].id", "invalid_request"),
        ({"input": []}, "input", "invalid_request"),
        ({"input": 3}, "input", "invalid_request"),
        ({"input": [{"type": "audio"}]}, "input[0]", "invalid_request"),
        ({"temperature": "hot"}, "temperature", "invalid_request"),
        ({"max_output_tokens": 0}, "max_output_tokens", "invalid_request"),
        ({"previous_response_id": "abc"}, "previous_response_id", "invalid_request"),
        ({"reasoning": "very"}, "reasoning", "invalid_request"),
        ({"messages": []}, "messages", "invalid_request"),
        ({"ttl": 5}, "ttl", "invalid_request"),
    ],
)
def test_a_bad_field_is_named(
    served: Served, fields: dict[str, Any], param: str, kind: str, stream: bool
) -> None:
    reply = chat(served, stream=stream, **fields)
    error = reply.json["error"]
    assert reply.status == 400
    assert error["type"] == kind
    assert error["param"].startswith(param)
    assert error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_a_404_in_the_dialects_words(served: Served, stream: bool) -> None:
    reply = chat(served, model="nobody", stream=stream)
    assert reply.status == 404
    assert reply.json["error"]["type"] == "model_not_found"


def test_a_failure_halfway_tells_why_and_what_there_was(served: Served) -> None:
    served.pool.fail_at = "mid-stream"
    served.pool.failure = EngineCrashed("It died.", returncode=-9)
    events = stream(served)
    assert [name for name, _ in events[-3:]] == ["message.end", "error", "chat.end"]
    error = events[-2][1]["error"]
    assert (error["type"], error["code"]) == ("unknown", "signal_9")
    result = events[-1][1]["result"]
    assert result["output"] == [{"type": "message", "content": "Hello world"}]
    assert result["stats"]["total_output_tokens"] is None
    assert "response_id" not in result


def test_a_failure_before_the_first_event_is_a_status_of_a_stream_too(served: Served) -> None:
    served.pool.fail_at = "prefill"
    served.pool.failure = EngineCrashed("It died.", returncode=-9)
    reply = chat(served, stream=True)
    assert (reply.status, reply.json["error"]["code"]) == (500, "signal_9")


def test_a_request_that_waited_for_the_model_says_how_long(served: Served) -> None:
    instance = served.pool.instances["assistant"]
    instance.state = "loading"
    try:
        events = stream(served)
    finally:
        instance.state = "ready"
    assert [name for name, _ in events[:3]] == ["chat.start", "model_load.start", "model_load.end"]
    waited = events[2][1]["load_time_seconds"]
    assert waited >= 0
    assert events[-1][1]["result"]["stats"]["model_load_time_seconds"] == waited
