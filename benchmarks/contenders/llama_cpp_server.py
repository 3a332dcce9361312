"""llama-cpp-python's server, of the version that lmrun has, as fast as its settings make it.

It generates one answer at a time. `interrupt_requests` would end an answer when another is asked
for, and `logits_all` computes logits for all of a prompt: both are on by default and off here.
"""

from __future__ import annotations

import os

from benchmarks.contenders.base import LLAMA_CPP_SERVER, THREADS, HttpContender, Place
from benchmarks.contenders.peers import find_peer_python
from benchmarks.contenders.process import Process, answers, find_free_port


class LlamaCppServer(HttpContender):
    name = LLAMA_CPP_SERVER

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process: Process | None = None

    async def start(self) -> None:
        setup, port = self._place.setup, find_free_port()
        command = [str(find_peer_python()), "-m", "llama_cpp.server"]
        command += ["--model", str(self._place.model), "--n_ctx", str(setup.context_length)]
        command += ["--n_threads", str(THREADS), "--n_threads_batch", str(THREADS)]
        command += ["--flash_attn", "True", "--logits_all", "False", "--verbose", "False"]
        command += ["--interrupt_requests", "False", "--host", "127.0.0.1", "--port", str(port)]
        self.address = f"http://127.0.0.1:{port}"
        self._process = Process(command, os.environ, self._place.folder / "server.log")
        await self._process.wait_until(lambda: answers(f"{self.address}/v1/models"))

    async def stop(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None
