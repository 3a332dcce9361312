"""llama.cpp's own server, built natively, with the defaults its users have.

Its prompt cache stays on, between requests of a slot and in RAM: cold scenarios send prompts that
it has not seen. Asked for a number of slots, it gives each a KV cache of its own, as lmrun does.
`top_k` 1 is the shortest sampler chain that is greedy.
"""

from __future__ import annotations

import os

from benchmarks.contenders.base import (
    LLAMA_SERVER,
    LLAMA_SERVER_UNIFIED,
    THREADS,
    HttpContender,
    Place,
)
from benchmarks.contenders.peers import find_llama_server
from benchmarks.contenders.process import Process, answers, find_free_port


class LlamaServer(HttpContender):
    name = LLAMA_SERVER
    to_fields = {"top_k": 1}  # noqa: RUF012  # never changed

    options: tuple[str, ...] = ()

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process: Process | None = None

    async def start(self) -> None:
        setup, port = self._place.setup, find_free_port()
        command = [str(find_llama_server()), "--model", str(self._place.model)]
        command += ["--host", "127.0.0.1", "--port", str(port), "--flash-attn", "on"]
        command += ["--threads", str(THREADS), "--threads-batch", str(THREADS)]
        command += ["--ctx-size", str(setup.pool), "--parallel", str(setup.parallel)]
        command += ["--no-ui", "--offline", "--log-verbosity", "1", *self.options]
        self.address = f"http://127.0.0.1:{port}"
        self._process = Process(command, os.environ, self._place.folder / "server.log")
        await self._process.wait_until(lambda: answers(f"{self.address}/health"))

    async def stop(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


class UnifiedLlamaServer(LlamaServer):
    """With one KV pool for all slots."""

    name = LLAMA_SERVER_UNIFIED
    options = ("--kv-unified",)
