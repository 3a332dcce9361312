"""`lmrun.act` against a real HTTP server on a pool without workers: functions run here."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import lmrun
from lmrun.api.app import build_app
from lmrun.api.door import Door, Key
from lmrun.chat.request import Request
from lmrun.client.http import Refused
from lmrun.errors import BudgetExceeded, InvalidParameter, LmrunError, ServerUnreachable
from lmrun.settings.secret import Secret
from lmrun.tools.act.events import ActEnd, ActEvent, CallFailed, CallSucceeded
from tests.support.http import Port, listening, serving_app, wait_until
from tests.support.rounds import RoundsPool, call, say
from tests.support.server import free_port

KEY = "k" * 40
CALL = call("add", '{"a": 2, "b": "3"}')


class Served:
    def __init__(self, port: Port, pool: RoundsPool) -> None:
        self.port = port
        self.pool = pool


@pytest.fixture(scope="module")
def module_server() -> Iterator[Served]:
    pool = RoundsPool()
    door = Door(keys=(Key("me", Secret(KEY), frozenset({"inference"})),))
    with listening(serving_app(build_app(pool, lambda: door))) as port:
        yield Served(port, pool)


@pytest.fixture
def served(module_server: Served) -> Served:
    pool = module_server.pool
    pool.rounds.clear()
    pool.forever, pool.stop_at = say("done"), None
    for log in (pool.prompts, pool.predictions, pool.reached):
        log.clear()
    return module_server


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    assert isinstance(b, int), "coerced, as its type hint says"
    return a + b


def fail(a: int, b: int) -> int:
    """Fails."""
    raise RuntimeError("as told")


fail.__name__ = "add"


def act(served: Served, tools: Any, **more: Any) -> ActEnd:
    return lmrun.act("assistant", "2 + 3?", tools, base_url=served.port.url, api_key=KEY, **more)


def test_a_function_is_called_and_the_model_reads_its_result(served: Served) -> None:
    served.pool.rounds += [CALL, say("It is 5.")]
    heard: list[ActEvent] = []
    end = act(served, [add], on_event=heard.append)
    assert (end.text, end.rounds, end.calls) == ("It is 5.", 2, 1)
    assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (20, 10)
    assert [event.text for event in heard if isinstance(event, CallSucceeded)] == ["5"]
    first, second = served.pool.prompts
    assert isinstance(first, Request) and isinstance(second, Request)
    (tool,) = first.tools
    assert (tool.name, tool.description) == ("add", "Adds two numbers.")
    assert tool.parameters["properties"]["a"]["type"] == "integer"
    assert [message.role for message in second.messages] == ["user", "assistant", "tool"]
    assert second.messages[-1].content == "5"


def test_a_function_runs_in_this_process(served: Served) -> None:
    seen: list[int] = []

    def remember(a: int, b: int) -> str:
        """Remembers."""
        seen.append(a + b)
        return "noted"

    remember.__name__ = "add"
    served.pool.rounds += [CALL, say("Noted.")]
    act(served, [remember])
    assert seen == [5]


def test_a_coroutine_function_is_awaited(served: Served) -> None:
    async def add(a: int, b: int) -> int:
        """Adds slowly."""
        await asyncio.sleep(0)
        return a + b

    served.pool.rounds += [CALL, say("It is 5.")]
    heard: list[ActEvent] = []
    act(served, [add], on_event=heard.append)
    assert [event.text for event in heard if isinstance(event, CallSucceeded)] == ["5"]


def test_what_a_function_raises_is_for_the_model(served: Served) -> None:
    served.pool.rounds += [CALL, say("It failed.")]
    heard: list[ActEvent] = []
    assert act(served, [fail], on_event=heard.append).text == "It failed."
    (failed,) = [event for event in heard if isinstance(event, CallFailed)]
    assert (failed.error, failed.text) == ("failed", "RuntimeError: as told")


def test_messages_and_settings_are_sent(served: Served) -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    settings: dict[str, Any] = {"temperature": 0, "max_tokens": 9, "stop_strings": ["END"]}
    lmrun.act("assistant", messages, base_url=f"{served.port.url}/v1", api_key=KEY, **settings)
    (prompt,), (prediction,) = served.pool.prompts, served.pool.predictions
    assert isinstance(prompt, Request)
    assert [(it.role, it.content) for it in prompt.messages] == [
        ("system", "Be kind."),
        ("user", "Hi"),
    ]
    assert prompt.tools == ()
    assert (prediction.temperature, prediction.max_tokens) == (0, 9)
    assert prediction.stop_strings == ("END",)


def test_a_run_without_end_uses_up_its_budget(served: Served) -> None:
    served.pool.forever = CALL
    with pytest.raises(BudgetExceeded) as caught:
        act(served, [add])
    assert caught.value.budget == "identical_calls"


def test_the_last_round_is_offered_no_tools(served: Served) -> None:
    served.pool.rounds += [CALL, say("Enough.")]
    assert act(served, [add], max_rounds=2).text == "Enough."
    last = served.pool.prompts[-1]
    assert isinstance(last, Request)
    assert last.tools == ()


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ([add, "other"], "the ones or the others"),
        ([add, add], "already"),
        ([lambda a: a], "neither a named function"),
        ([3], "neither a named function"),
        ([print], "takes any number of values"),
    ],
)
def test_tools_that_cannot_be_are_refused(served: Served, tools: list[Any], words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        act(served, tools)
    assert served.pool.prompts == []


@pytest.mark.parametrize(
    "given", [{"preset": "terse"}, {"context": ["mcp/docs/note://a"]}], ids=["preset", "context"]
)
def test_what_the_server_has_goes_with_no_function(served: Served, given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(InvalidParameter, match=f"{name}: functions run here.*Declare add"):
        act(served, [add], **given)
    assert served.pool.prompts == []


@pytest.mark.parametrize("task", [[], [{"role": "tool", "content": "x"}], [{"role": "user"}]])
def test_a_task_that_is_none_is_refused(served: Served, task: Any) -> None:
    with pytest.raises(InvalidParameter, match="task"):
        lmrun.act("assistant", task, base_url=served.port.url)


def test_a_setting_that_is_none_is_refused(served: Served) -> None:
    with pytest.raises(InvalidParameter, match="temprature"):
        act(served, [], temprature=1)


def test_the_servers_refusal_is_an_error(served: Served) -> None:
    with pytest.raises(Refused, match="nobody") as caught:
        lmrun.act("nobody", "Hi", base_url=served.port.url, api_key=KEY)
    assert (caught.value.code, caught.value.status) == ("model_not_found", 404)
    with pytest.raises(Refused) as caught:
        lmrun.act("assistant", "Hi", base_url=served.port.url, api_key="wrong" * 8)
    assert caught.value.status == 401


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "http://[", "ftp://127.0.0.1"])
def test_no_server_is_an_error_that_says_where(url: str) -> None:
    with pytest.raises(ServerUnreachable, match="No answer from the server"):
        lmrun.act("assistant", "Hi", base_url=url.format(port=free_port()))


def test_inside_a_loop_it_is_awaited(served: Served) -> None:
    served.pool.rounds += [CALL, say("It is 5.")]

    async def wait() -> ActEnd:
        with pytest.raises(LmrunError, match="act_async"):
            act(served, [add])
        return await lmrun.act_async(
            "assistant", "2 + 3?", [add], base_url=served.port.url, api_key=KEY
        )

    assert asyncio.run(wait()).text == "It is 5."


def test_cancelling_it_stops_the_model_and_waits_for_the_function(served: Served) -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def add(a: int, b: int) -> int:
        """Takes its time."""
        begun.set()
        may_end.wait(10)
        ended.set()
        return a + b

    served.pool.rounds += [CALL]

    async def cancel() -> None:
        work = asyncio.create_task(
            lmrun.act_async("assistant", "2 + 3?", [add], base_url=served.port.url, api_key=KEY)
        )
        await asyncio.to_thread(begun.wait, 10)
        work.cancel()
        await asyncio.sleep(0)
        assert not work.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert ended.is_set()

    asyncio.run(cancel())
    wait_until(lambda: served.pool.is_idle)
