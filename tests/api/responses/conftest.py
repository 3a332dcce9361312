"""OpenAI's own client, on a real port, with a real pool, its worker processes, and a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from starlette.types import ASGIApp

from lmrun.api.app import build_app
from lmrun.api.door import Door
from lmrun.api.responses.routes import make_responses_routes
from lmrun.chat.events import ChatEnd, Event, StopReason, Usage
from lmrun.runtime.pool import Pool
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from lmrun.store.conversations import Conversations
from tests.support.http import Port, listening, serving_app
from tests.support.instances import ENDLESS, make_spec, open_pool, script
from tests.support.stand_in_pool import StandInPool

SHOWS_ALL = (
    "{% if enable_thinking is false %}quick\n{% endif %}"
    "{% for m in messages %}{{ m.role }}: "
    "{% if m.reasoning_content %}({{ m.reasoning_content }}) {% endif %}{{ m.content }}\n"
    "{% endfor %}"
)
"""A template in which everything of a conversation shows but for calls."""

SCRIPT = script(
    {"match": "endless", "pieces": ["tick "], "repeat": 100_000, "seconds_per_token": 0.005},
    {"match": "fail later", "pieces": ["a", "b"], "fail": {"after": 1, "message": "No more."}},
    {"match": "say nothing", "pieces": []},
    {"match": "am Ada.*assistant: Hello there!.*who\\?", "pieces": ["Ada"]},
    {"match": "system: Be brief\n\nBe kind\n", "pieces": ["Brief and kind."]},
    {"match": "system: Be brief", "pieces": ["Brief."]},
    {"pieces": ["Hel", "lo", " there", "!"]},
    context_length=4096,
    chat_template=SHOWS_ALL,
)
THINKER = script(
    {"match": "only think", "pieces": ["<think>", "hm ", "hm ", "hm "]},
    {"match": r"\(hm\)", "pieces": ["I did think."]},
    {"match": "quick", "pieces": ["No thought."]},
    {"pieces": ["<think>", "h", "m", "</think>", "Yes", "."]},
    context_length=4096,
    chat_template="{# <think> </think> #}" + SHOWS_ALL,
)


@dataclass
class Client:
    """OpenAI's client, whose answers are checked."""

    port: Port
    client: openai.OpenAI

    def ask(self, input: Any, **parameters: Any) -> Response:
        """The whole response, which OpenAI's type finds nothing wrong with."""
        given = {"model": "assistant", "input": input, **parameters}
        answer = self.client.responses.create(**given)
        assert isinstance(answer, Response)
        return check(answer)

    def stream(self, input: Any, **parameters: Any) -> list[Any]:
        """All events, with which OpenAI's types find nothing wrong."""
        given = {"model": "assistant", "input": input, "stream": True, **parameters}
        return [check_event(event) for event in self.client.responses.create(**given)]


@dataclass
class Live(Client):
    """A server on a real pool."""

    pool: Pool


@dataclass
class Told(Client):
    """A server whose one model says what it is told to."""

    pool: StandInPool

    def say(self, *events: Event, reason: StopReason = "eosFound") -> None:
        """From now on."""
        self.pool.said = (*events, ChatEnd(reason, Usage(9, 3, 4)))


_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def check(answer: Response) -> Response:
    """The client itself checks nothing."""
    return Response.model_validate(answer.to_dict())


def check_event(event: Any) -> Any:
    return _EVENTS.validate_python(event.to_dict())


@pytest.fixture(scope="package")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder: Path = tmp_path_factory.mktemp("models")
    pools: list[Pool] = []
    conversations = Conversations(folder / "conversations.db")

    @asynccontextmanager
    async def make_app() -> AsyncIterator[ASGIApp]:
        specs = (
            make_spec(folder, SCRIPT, identifier="assistant", model_key="acme/talker"),
            make_spec(folder, THINKER, identifier="thinker"),
            make_spec(
                folder,
                script(ENDLESS),
                identifier="one",
                load=LoadConfig(max_parallel_predictions=1),
                prediction=PredictionConfig(max_tokens=2, temperature=0.25, top_p=0.5),
            ),
        )
        async with open_pool(*specs) as pool:
            pools.append(pool)
            yield build_app(pool, Door, make_responses_routes(pool, conversations))

    with (
        listening(make_app) as port,
        openai.OpenAI(base_url=f"{port.url}/v1", api_key="any", max_retries=0) as client,
    ):
        yield Live(port, client, pools[0])
    conversations.close()


@pytest.fixture(scope="package")
def _told() -> Iterator[Told]:
    pool, conversations = StandInPool(), Conversations()
    app = build_app(pool, Door, make_responses_routes(pool, conversations))
    with (
        listening(serving_app(app)) as port,
        openai.OpenAI(base_url=f"{port.url}/v1", api_key="any", max_retries=0) as client,
    ):
        yield Told(port, client, pool)
    conversations.close()


@pytest.fixture
def told(_told: Told) -> Told:
    """As new: it says what a stand-in says."""
    _told.pool.said = ()
    _told.pool.fail_at = None
    _told.pool.prompts.clear()
    _told.pool.predictions.clear()
    return _told
