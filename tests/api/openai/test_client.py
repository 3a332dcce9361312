"""OpenAI's own client, on a real port, with a real pool and its worker processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from starlette.types import ASGIApp

from lmrun.api.app import build_app
from lmrun.api.door import Door, Key
from lmrun.runtime.pool import Pool
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from lmrun.settings.secret import Secret
from tests.support.http import Port, listening, wait_until
from tests.support.instances import ENDLESS, make_spec, open_pool, script

KEY = "k" * 40
SCRIPT = script(
    {"match": "endless", "pieces": ["tick "], "repeat": 100_000, "seconds_per_token": 0.005},
    {"match": "crash", "pieces": ["a", "b", "c"], "crash": {"signal": 9, "after": 2}},
    {"match": "die at once", "pieces": ["a"], "crash": {"signal": 9, "after": 0}},
    {"match": "fail", "pieces": ["a", "b"], "fail": {"after": 1, "message": "It cannot go on."}},
    {"match": "system: Be brief", "pieces": ["Brief."]},
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
    client: openai.OpenAI
    door: list[Door] = field(default_factory=list)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder: Path = tmp_path_factory.mktemp("models")
    pools: list[Pool] = []
    door = [Door()]

    @asynccontextmanager
    async def make_app() -> AsyncIterator[ASGIApp]:
        specs = (
            make_spec(folder, SCRIPT, identifier="assistant", model_key="acme/talker"),
            make_spec(
                folder,
                script(ENDLESS),
                identifier="one",
                load=LoadConfig(max_parallel_predictions=1),
                prediction=PredictionConfig(max_tokens=2),
            ),
        )
        async with open_pool(*specs, queue_limit=1) as pool:
            pools.append(pool)
            yield build_app(pool, lambda: door[0])

    with (
        listening(make_app) as port,
        openai.OpenAI(base_url=f"{port.url}/v1", api_key="any", max_retries=0) as client,
    ):
        yield Live(port, pools[0], client, door)


def user(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def test_it_lists_the_models(live: Live) -> None:
    models = list(live.client.models.list())
    assert [model.id for model in models] == ["assistant", "one"]
    assert abs(models[0].created - time.time()) < 3600
    assert live.client.models.retrieve("one").id == "one"
    with pytest.raises(openai.NotFoundError) as caught:
        live.client.models.retrieve("no/such")
    assert caught.value.code == "model_not_found"


def test_it_chats(live: Live) -> None:
    answer = live.client.chat.completions.create(
        model="assistant", messages=user("hi"), temperature=0.5, seed=1, stop=" STOP"
    )
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "assistant"
    assert answer.system_fingerprint is not None
    assert answer.system_fingerprint.startswith("scripted-")
    (choice,) = answer.choices
    assert (choice.index, choice.finish_reason) == (0, "stop")
    assert (choice.message.role, choice.message.content) == ("assistant", "Hello")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens > 0


def test_a_model_key_names_its_instance(live: Live) -> None:
    answer = live.client.chat.completions.create(model="acme/talker", messages=user("hi"))
    assert answer.model == "assistant"


def test_it_streams_role_text_and_reason(live: Live) -> None:
    chunks = list(
        live.client.chat.completions.create(model="assistant", messages=user("hi"), stream=True)
    )
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Hello STOP world"
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_last_when_it_is_asked_for(live: Live) -> None:
    chunks = list(
        live.client.chat.completions.create(
            model="assistant",
            messages=user("hi"),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 4
    assert all(chunk.usage is None and chunk.choices for chunk in chunks[:-1])


def test_whole_and_streamed_are_the_same_text(live: Live) -> None:
    whole = live.client.chat.completions.create(model="assistant", messages=user("unicode"))
    stream = live.client.chat.completions.create(
        model="assistant", messages=user("unicode"), stream=True
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == whole.choices[0].message.content == 'ü😀"\\\n\u2028'


def test_it_completes_without_a_template(live: Live) -> None:
    answer = live.client.completions.create(model="assistant", prompt="hi", max_tokens=2)
    assert (answer.object, answer.id[:5]) == ("text_completion", "cmpl-")
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("Hello", "length")
    chunks = list(
        live.client.completions.create(
            model="assistant", prompt="hi", stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(c.choices[0].text for c in chunks if c.choices) == "Hello STOP world"
    assert chunks[-1].usage is not None


def test_it_gives_several_choices(live: Live) -> None:
    answer = live.client.chat.completions.create(model="assistant", messages=user("hi"), n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert {choice.message.content for choice in answer.choices} == {"Hello STOP world"}
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12


def test_it_streams_several_choices(live: Live) -> None:
    stream = live.client.chat.completions.create(
        model="assistant",
        messages=user("hi"),
        n=3,
        stream=True,
        stream_options={"include_usage": True},
    )
    texts, ends, roles = ["", "", ""], [0, 0, 0], [0, 0, 0]
    *chunks, last = stream
    for chunk in chunks:
        (choice,) = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        roles[choice.index] += choice.delta.role == "assistant"
        ends[choice.index] += choice.finish_reason == "stop"
    assert texts == ["Hello STOP world"] * 3
    assert (roles, ends) == ([1, 1, 1], [1, 1, 1])
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 12


def test_it_echoes_the_prompt(live: Live) -> None:
    answer = live.client.completions.create(
        model="assistant", prompt="hi STOP, ", echo=True, stop="STOP"
    )
    assert answer.choices[0].text == "hi STOP, Hello "
    stream = live.client.completions.create(
        model="assistant", prompt="hi STOP, ", echo=True, stop="STOP", stream=True, n=2
    )
    texts = ["", ""]
    for chunk in stream:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == ["hi STOP, Hello "] * 2


def test_the_system_message_reaches_the_template(live: Live) -> None:
    answer = live.client.chat.completions.create(
        model="assistant", messages=[{"role": "developer", "content": "Be brief"}, *user("hi")]
    )
    assert answer.choices[0].message.content == "Brief."


def test_a_default_of_the_instance_holds_until_a_request_chooses(live: Live) -> None:
    plain = live.client.chat.completions.create(model="one", messages=user("hi"))
    chosen = live.client.chat.completions.create(model="one", messages=user("hi"), max_tokens=3)
    assert plain.choices[0].message.content == "tick tick "
    assert chosen.choices[0].message.content == "tick tick tick "


def ask(live: Live, **parameters: Any) -> Any:
    given = {"model": "assistant", "messages": user("hi"), **parameters}
    return live.client.chat.completions.create(**given)


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_not_found(live: Live, stream: bool) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(live, model="nobody", stream=stream)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert "assistant" in caught.value.message


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"n": 9}, "n"),
        ({"logprobs": False, "top_logprobs": 2}, "top_logprobs"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "code": "1"}}]},
            "tools[0].function.code",
        ),
        ({"extra_body": {"temprature": 1}}, "temprature"),
        ({"extra_body": {"max_tokens": 2**63}}, "max_tokens"),
    ],
)
def test_a_bad_parameter_is_a_bad_request(
    live: Live, parameters: dict[str, Any], param: str, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(live, stream=stream, **parameters)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_beyond_the_context_is_a_bad_request(live: Live, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(live, messages=user("word " * 3000), stream=stream)
    assert caught.value.code == "context_length_exceeded"


def test_a_full_queue_is_a_rate_limit(live: Live) -> None:
    streams = [ask(live, model="one", max_tokens=100_000, stream=True) for _ in range(1)]
    streams[0].__next__()
    waiting = live.port.connect()
    body = b'{"model": "one", "prompt": "hi"}'
    waiting.sendall(
        f"POST /v1/completions HTTP/1.1\r\nHost: localhost:{live.port.number}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    wait_until(lambda: live.pool.instances["one"].in_flight == 2)
    with pytest.raises(openai.RateLimitError) as caught:
        ask(live, model="one")
    assert caught.value.code == "queue_full"
    assert caught.value.response.headers["retry-after"] == "1"
    waiting.close()
    streams[0].close()
    wait_until(lambda: live.pool.instances["one"].in_flight == 0)


def wait_for_restart(live: Live, pid: int | None) -> None:
    instance = live.pool.instances["assistant"]
    wait_until(lambda: instance.state == "ready" and instance.pid != pid, within_s=10)


def test_a_crash_in_a_stream_is_an_error_of_the_client(live: Live) -> None:
    pid = live.pool.instances["assistant"].pid
    text = ""
    with pytest.raises(openai.APIError) as caught:
        for chunk in ask(live, messages=user("crash"), stream=True):
            text += chunk.choices[0].delta.content or ""
    assert "ab".startswith(text)
    assert (caught.value.type, caught.value.code) == ("engine_crashed", "signal_9")
    wait_for_restart(live, pid)
    assert ask(live).choices[0].message.content


def test_a_killed_worker_ends_the_stream_without_done(live: Live) -> None:
    pid = live.pool.instances["assistant"].pid
    assert pid is not None
    with live.client.chat.completions.with_streaming_response.create(
        model="assistant", messages=user("endless"), stream=True
    ) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("data: ")
        os.kill(pid, signal.SIGKILL)
        last = [line for line in lines if line][-1]
    assert last.startswith('data: {"error":{"message":')
    assert '"type":"engine_crashed","param":null,"code":"signal_9"' in last
    wait_for_restart(live, pid)


def test_a_crash_before_the_first_word_is_a_status_and_not_repeated(live: Live) -> None:
    instance = live.pool.instances["assistant"]
    restarts, pid = instance.restarts, instance.pid
    patient = live.client.with_options(max_retries=2)
    with pytest.raises(openai.InternalServerError) as caught:
        patient.chat.completions.create(model="assistant", messages=user("die at once"))
    assert caught.value.type == "engine_crashed"
    wait_for_restart(live, pid)
    assert instance.restarts == restarts + 1


def test_a_sequence_that_fails_is_a_typed_error(live: Live) -> None:
    with pytest.raises(openai.APIError, match="It cannot go on") as caught:
        list(ask(live, messages=user("fail"), stream=True))
    assert caught.value.type == "engine_error"
    with pytest.raises(openai.InternalServerError, match="It cannot go on"):
        ask(live, messages=user("fail"))


@pytest.mark.parametrize("choices", [1, 3])
def test_closing_a_stream_frees_its_sequences(live: Live, choices: int) -> None:
    instance = live.pool.instances["assistant"]
    stream = ask(live, messages=user("endless"), stream=True, n=choices)
    for _ in range(3 * choices):
        next(stream)
    assert (instance.in_flight, instance.active) == (1, choices)
    stream.close()
    assert wait_until(lambda: instance.in_flight == 0 and instance.active == 0) < 0.25


def test_the_clients_own_key_is_what_the_door_asks_for(live: Live) -> None:
    live.door[0] = Door(keys=(Key("ci", Secret(KEY), frozenset({"inference"})),))
    try:
        with pytest.raises(openai.AuthenticationError):
            live.client.models.list()
        keyed = live.client.with_options(api_key=KEY)
        assert len(list(keyed.models.list())) == 2
    finally:
        live.door[0] = Door()
