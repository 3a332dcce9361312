"""Anthropic's own client, on a real port, with a real pool and its worker processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam
from starlette.types import ASGIApp

from lmrun.api.app import build_app
from lmrun.api.door import Door
from lmrun.runtime.pool import Pool
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from tests.support.http import Port, listening, wait_until
from tests.support.instances import ENDLESS, make_spec, open_pool, script

SCRIPT = script(
    {"match": "endless", "pieces": ["tick "], "repeat": 100_000, "seconds_per_token": 0.005},
    {"match": "crash", "pieces": ["a", "b", "c"], "crash": {"signal": 9, "after": 2}},
    {"match": "die at once", "pieces": ["a"], "crash": {"signal": 9, "after": 0}},
    {"match": "fail", "pieces": ["a", "b"], "fail": {"after": 1, "message": "It cannot go on."}},
    {"match": "fill", "pieces": ["a"], "finish": "contextLengthReached"},
    {"match": "system: Be brief\nuse tools", "pieces": ["Brief."]},
    {"match": "unicode", "pieces": ["ü", {"hex": "f09f98"}, {"hex": "80"}, '"\\\n\u2028']},
    {"pieces": ["Hel", "lo", " STOP ", "world"]},
    context_length=2048,
    chat_template="{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
)


@dataclass
class Live:
    """A server on a real pool."""

    port: Port
    pool: Pool
    client: anthropic.Anthropic
    door: list[Door] = field(default_factory=list)

    def ask(self, text: str = "hi", **parameters: Any) -> Any:
        given = {"model": "assistant", "max_tokens": 100, "messages": user(text), **parameters}
        return self.client.messages.create(**given)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder: Path = tmp_path_factory.mktemp("models")
    pools: list[Pool] = []
    door = [Door()]

    @asynccontextmanager
    async def make_app() -> AsyncIterator[ASGIApp]:
        specs = (
            make_spec(
                folder,
                SCRIPT,
                identifier="assistant",
                model_key="acme/talker",
                prediction=PredictionConfig(stop_strings=("rld",)),
            ),
            make_spec(
                folder,
                script(ENDLESS),
                identifier="one",
                load=LoadConfig(max_parallel_predictions=1),
            ),
        )
        async with open_pool(*specs, queue_limit=1) as pool:
            pools.append(pool)
            yield build_app(pool, lambda: door[0])

    with (
        listening(make_app) as port,
        anthropic.Anthropic(base_url=port.url, api_key="any", max_retries=0) as client,
    ):
        yield Live(port, pools[0], client, door)


def user(text: str) -> list[MessageParam]:
    return [{"role": "user", "content": text}]


def test_it_answers(live: Live) -> None:
    message = live.ask(
        system="Be kind.",
        stop_sequences=["never", " STOP"],
        metadata={},
        extra_body={"temperature": 0.5, "top_k": 5},
    )
    assert (message.type, message.role, message.model) == ("message", "assistant", "assistant")
    assert message.id.startswith("msg_")
    assert [(block.type, block.text) for block in message.content] == [("text", "Hello")]
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", " STOP")
    assert message.usage.output_tokens == 3
    assert message.usage.input_tokens > 0


def test_a_stop_string_of_the_preset_ends_a_turn(live: Live) -> None:
    message = live.ask()
    assert message.content[0].text == "Hello STOP wo"
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)


@pytest.mark.parametrize(
    ("text", "parameters", "expected"),
    [
        ("hi", {"max_tokens": 2}, "max_tokens"),
        ("fill", {}, "model_context_window_exceeded"),
        ("unicode", {}, "end_turn"),
    ],
)
def test_it_says_why_it_ended(
    live: Live, text: str, parameters: dict[str, Any], expected: str
) -> None:
    assert live.ask(text, **parameters).stop_reason == expected
    streamed = list(live.ask(text, stream=True, **parameters))
    assert streamed[-2].delta.stop_reason == expected


def test_a_stream_adds_up_to_the_same_message(live: Live) -> None:
    whole = live.ask("unicode")
    with live.client.messages.stream(
        model="assistant", max_tokens=100, messages=user("unicode")
    ) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
        assert stream.request_id is not None
    assert text == message.content[0].text == whole.content[0].text == 'ü😀"\\\n\u2028'  # type: ignore[union-attr]
    assert message.stop_reason == whole.stop_reason
    assert message.usage.output_tokens == whole.usage.output_tokens
    total = whole.usage.input_tokens + whole.usage.cache_read_input_tokens
    assert message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) == total


def test_the_events_come_in_anthropics_order(live: Live) -> None:
    kinds = [event.type for event in live.ask(stream=True)]
    shortened = [kind for n, kind in enumerate(kinds) if n == 0 or kinds[n - 1] != kind]
    assert shortened == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_the_beta_client_works_as_well(live: Live) -> None:
    message = live.client.beta.messages.create(
        model="assistant",
        max_tokens=2,
        messages=[{"role": "user", "content": "hi"}],
        betas=["context-management-2025-06-27"],
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    )
    assert message.content[0].type == "text"


def test_a_request_as_coding_agents_send_it_is_answered(live: Live) -> None:
    reply = live.port.ask(
        "POST",
        "/v1/messages?beta=true",
        {
            "model": "assistant",
            "max_tokens": 32000,
            "system": [
                {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=0a1b2;"},
                {"type": "text", "text": "Be brief", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "use tools", "cache_control": {"type": "ephemeral"}},
            ],
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
                    ],
                }
            ],
            "tools": [],
            "tool_choice": {"type": "auto"},
            "thinking": {"type": "enabled", "budget_tokens": 31999},
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "output_config": {"effort": "medium"},
            "metadata": {"user_id": "user_1_account__session_2"},
            "stream": False,
        },
        anthropic_version="2023-06-01",
        anthropic_beta="claude-code-20250219,interleaved-thinking-2025-05-14",
        x_api_key="any",
    )
    assert reply.status == 200, reply.body
    assert reply.json["content"] == [{"type": "text", "text": "Brief."}]
    assert reply.header("request-id") == reply.header("x-request-id")


def test_tokens_are_counted_as_the_prompt_of_an_answer_has_them(live: Live) -> None:
    count = live.client.messages.count_tokens(
        model="assistant", messages=user("how many are these"), system="Be kind."
    )
    usage = live.ask("how many are these", system="Be kind.").usage
    assert count.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


def test_what_was_cached_is_counted_apart(live: Live) -> None:
    text = "the same long beginning " * 20
    live.ask(text)
    usage = live.ask(text).usage
    total = live.client.messages.count_tokens(model="assistant", messages=user(text)).input_tokens
    assert usage.input_tokens + usage.cache_read_input_tokens == total
    assert usage.cache_creation_input_tokens == 0


def test_no_tokens_only_fill_the_cache(live: Live) -> None:
    message = live.ask(max_tokens=0)
    assert (message.content, message.stop_reason) == ([], "max_tokens")
    assert message.usage.output_tokens == 0


def test_a_model_key_names_its_instance(live: Live) -> None:
    assert live.ask(model="acme/talker").model == "assistant"


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_not_found(live: Live, stream: bool) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        live.ask(model="claude-opus-5", stream=stream)
    assert (caught.value.type, caught.value.error_code) == ("not_found_error", "model_not_found")
    assert "assistant" in str(caught.value.api_message)
    with pytest.raises(anthropic.NotFoundError):
        live.client.messages.count_tokens(model="claude-opus-5", messages=user("hi"))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"extra_body": {"temperature": "hot"}}, "temperature"),
        ({"extra_body": {"temprature": 1}}, "temprature"),
        ({"messages": []}, "messages"),
        ({"container": "c"}, "container"),
        (
            {"messages": [*user("hi"), {"role": "assistant", "content": "The answer is"}]},
            "messages[1].role",
        ),
    ],
)
def test_a_bad_parameter_is_a_bad_request_that_names_it(
    live: Live, parameters: dict[str, Any], name: str, stream: bool
) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        live.ask(stream=stream, **parameters)
    error = caught.value
    assert error.type == "invalid_request_error"
    assert isinstance(error.body, dict)
    assert error.body["error"]["details"]["param"] == name
    assert error.request_id == error.body["request_id"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_beyond_the_context_is_a_bad_request(live: Live, stream: bool) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        live.ask("word " * 3000, stream=stream)
    assert caught.value.error_code == "context_length_exceeded"
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["details"]["param"] == "messages"


def test_pictures_for_a_model_without_sight_are_refused_by_place(live: Live) -> None:
    picture = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    content = [{"type": "text", "text": "What?"}, {"type": "image", "source": picture}]
    with pytest.raises(anthropic.BadRequestError) as caught:
        live.ask(messages=[{"role": "user", "content": content}])
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["details"]["param"] == "messages[0].content[1].source.data"


def test_a_full_queue_is_an_overload(live: Live) -> None:
    busy = live.ask(model="one", max_tokens=100_000, stream=True)
    next(iter(busy))
    waiting = live.port.connect()
    body = b'{"model": "one", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}'
    waiting.sendall(
        f"POST /v1/messages HTTP/1.1\r\nHost: localhost:{live.port.number}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    wait_until(lambda: live.pool.instances["one"].in_flight == 2)
    with pytest.raises(anthropic.APIStatusError) as caught:
        live.ask(model="one")
    assert caught.value.status_code == 529
    assert (caught.value.type, caught.value.error_code) == ("overloaded_error", "queue_full")
    assert caught.value.response.headers["retry-after"] == "1"
    waiting.close()
    busy.close()
    wait_until(lambda: live.pool.instances["one"].in_flight == 0)


def wait_for_restart(live: Live, pid: int | None) -> None:
    instance = live.pool.instances["assistant"]
    wait_until(lambda: instance.state == "ready" and instance.pid != pid, within_s=10)


def test_a_crash_in_a_stream_is_an_error_of_the_client(live: Live) -> None:
    pid = live.pool.instances["assistant"].pid
    text = ""
    with pytest.raises(anthropic.APIStatusError) as caught:
        for event in live.ask("crash", stream=True):
            if event.type == "content_block_delta":
                text += event.delta.text
    assert "ab".startswith(text)
    assert (caught.value.type, caught.value.error_code) == ("api_error", "signal_9")
    wait_for_restart(live, pid)
    assert live.ask().content


def test_a_crash_before_the_first_word_is_a_status_and_not_repeated(live: Live) -> None:
    instance = live.pool.instances["assistant"]
    restarts, pid = instance.restarts, instance.pid
    patient = live.client.with_options(max_retries=2)
    with pytest.raises(anthropic.InternalServerError) as caught:
        patient.messages.create(model="assistant", max_tokens=5, messages=user("die at once"))
    assert (caught.value.type, caught.value.error_code) == ("api_error", "signal_9")
    wait_for_restart(live, pid)
    assert instance.restarts == restarts + 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_sequence_that_fails_says_so(live: Live, stream: bool) -> None:
    with pytest.raises(anthropic.APIStatusError, match="It cannot go on"):
        list(live.ask("fail", stream=stream))


def test_closing_a_stream_frees_its_sequence(live: Live) -> None:
    instance = live.pool.instances["assistant"]
    stream = live.ask("endless", stream=True)
    for _ in range(5):
        next(stream)
    assert (instance.in_flight, instance.active) == (1, 1)
    stream.close()
    assert wait_until(lambda: instance.in_flight == 0 and instance.active == 0) < 0.25
