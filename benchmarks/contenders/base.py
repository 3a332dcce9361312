"""What every contender takes and gives. It knows none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks.answers import Answer
from benchmarks.client import Recording, post

THREADS = 2
BARE, ENGINE, LMRUN = "bare", "engine", "lmrun"
LMRUN_UNIFIED = "lmrun_unified"
LLAMA_SERVER, LLAMA_CPP_SERVER = "llama_server", "llama_cpp_server"
LLAMA_SERVER_UNIFIED = "llama_server_unified"
TITLES = {
    BARE: "bare loop",
    ENGINE: "lmrun's engine alone",
    LMRUN: "lmrun",
    LMRUN_UNIFIED: "lmrun, unified_kv_cache: true",
    LLAMA_SERVER: "llama-server",
    LLAMA_SERVER_UNIFIED: "llama-server --kv-unified",
    LLAMA_CPP_SERVER: "llama_cpp.server",
}
PEERS = (LLAMA_SERVER, LLAMA_SERVER_UNIFIED, LLAMA_CPP_SERVER)
END_TOKENS = {"0": -100, "2": -100}
"""SmolLM2's end-of-text tokens: banned, so that every answer has the length that was asked for."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How contenders are started: all of them with flash attention and `THREADS` threads.

    `models`: how many instances of the model lmrun holds, called `a`, `b`, … `load`: further load
    settings of lmrun's.
    """

    context_length: int
    parallel: int
    models: int = 1
    load: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pool(self) -> int:
        """Tokens of the KV cache."""
        return self.context_length * self.parallel

    def __str__(self) -> str:
        return (
            f"flash attention on, context {self.context_length}, KV pool {self.pool}, "
            f"{THREADS} threads"
        )


@dataclass(frozen=True, slots=True)
class Request:
    """A greedy generation. `is_chat`: the prompt is a user's message.

    `fields`: further fields of the body. `may_end`: it may end before `tokens` by itself.
    """

    prompt: str
    tokens: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    is_chat: bool = False
    may_end: bool = False
    model: str = "a"


class Contender(Protocol):
    """Something that generates. It may be started again after it was stopped."""

    name: str

    async def start(self) -> None:
        """Ready for requests when it returns. Raises Refused when it cannot do what is asked."""

    async def stop(self) -> None:
        """Twice is once; also after a start that failed."""

    async def generate(self, *requests: Request) -> list[Answer]:
        """All at once. Raises Refused when one is refused, RuntimeError when one ends early."""


class HttpContender:
    """A server behind OpenAI's API. `to_fields` adds what only this one needs."""

    name: str
    address: str
    to_fields: Mapping[str, Any] = {}

    async def generate(self, *requests: Request) -> list[Answer]:
        recordings = await asyncio.gather(*(self.record(request) for request in requests))
        return [self.read(*pair) for pair in zip(requests, recordings, strict=True)]

    async def record(self, request: Request) -> Recording:
        """One request, to the end of its answer, which is still to be read."""
        path = "/v1/chat/completions" if request.is_chat else "/v1/completions"
        return await post(self.address, path, {**to_body(request), **self.to_fields})

    def read(self, request: Request, recording: Recording) -> Answer:
        """The answer to `request`. Raises Refused for an error, RuntimeError for another length
        than was asked for."""
        answer = recording.read()
        if not request.may_end and answer.finish_reason != "length":
            raise RuntimeError(f"{self.name} ended early: {answer.finish_reason}: {answer.text}")
        return answer


def to_body(request: Request) -> dict[str, Any]:
    """The body that every server here understands."""
    messages = [{"role": "user", "content": request.prompt}]
    return {
        "model": request.model,
        **({"messages": messages} if request.is_chat else {"prompt": request.prompt}),
        "max_tokens": request.tokens,
        "temperature": 0,
        "repeat_penalty": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
        **({} if request.may_end else {"logit_bias": END_TOKENS}),
        **request.fields,
    }


@dataclass(frozen=True, slots=True)
class Place:
    """What a contender is made from: the model's file, the setup, a folder of its own."""

    model: Path
    setup: Setup
    folder: Path
