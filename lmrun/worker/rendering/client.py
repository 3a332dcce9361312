"""The worker's side of template rendering: it keeps one expendable process and asks it.

A template that loops for ever or fills memory costs that process, not the model. It knows no
jinja and no token.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from typing import IO

import msgspec

from lmrun.chat.messages import Conversation, ImagePart, Message
from lmrun.errors import ContextOverflow, EngineCrashed, TemplateFailed
from lmrun.worker.rendering import exchange

PATIENCE_MS = 5_000
_END_TIMEOUT_S = 0.2


class TemplateRenderer:
    """Renders one model's chat template. Used by one thread."""

    def __init__(self, template: exchange.Template) -> None:
        self._template = template
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, so that the first conversation need not wait for it."""
        if self._process is None:
            command = [sys.executable, "-P", "-m", "lmrun.worker.rendering"]
            # Huge pages, which the worker asks for, would only make a small process larger.
            environment = {**os.environ, "GLIBC_TUNABLES": ""}
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
            self._say(self._template)

    def render(self, conversation: Conversation, marker: str = "") -> str:
        """The prompt's text. `marker`, which no message may hold, stands for each picture.

        Raises TemplateFailed, and ContextOverflow for far too much text; the next call works all
        the same.
        """
        messages = tuple(_without_data(message) for message in conversation.messages)
        bare = msgspec.structs.replace(conversation, messages=messages)
        return self._ask(exchange.Job(bare, marker))

    def check(self) -> None:
        """Raises TemplateFailed, with line and reason, when the template is none."""
        self._ask(exchange.Job())

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._end()

    def _ask(self, job: exchange.Job) -> str:
        self.start()
        try:
            self._say(job)
        except RecursionError:
            raise TemplateFailed("The conversation's tools or variables nest too deeply.") from None
        reply = self._hear()
        if reply is None:
            raise TemplateFailed(f"The model's chat template failed: {self._end()}.")
        rendered = exchange.decode_rendered(reply)
        if rendered.is_too_long and len(msgspec.msgpack.encode(job)) > exchange.MAX_OUTPUT_BYTES:
            raise ContextOverflow(
                f"The conversation makes a prompt of more than {exchange.MAX_OUTPUT_BYTES} bytes.",
                param="prompt",
                hint="Shorten it.",
            )
        if rendered.text is None:
            raise TemplateFailed(f"The model's chat template failed: {rendered.error}.")
        return rendered.text

    def _say(self, said: exchange.Template | exchange.Job) -> None:
        # A process that died is noticed by the read that follows.
        with contextlib.suppress(BrokenPipeError):
            exchange.write(_open(self._running.stdin), said)

    def _hear(self) -> bytes | None:
        pipe = _open(self._running.stdout)
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        return exchange.read(pipe) if poll.poll(PATIENCE_MS) else None

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def _end(self) -> str:
        """Reap the process; why it ended, for people."""
        process = self._running
        self._process = None
        try:
            process.communicate(timeout=_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        if process.returncode == -signal.SIGALRM:
            return "it took longer than a second"
        return f"its process ended with {EngineCrashed.describe(process.returncode)}"


def _without_data(message: Message) -> Message:
    """A template needs to know where a picture is, not what it shows."""
    if isinstance(message.content, str):
        return message
    bare = (ImagePart(b"") if isinstance(it, ImagePart) else it for it in message.content)
    return msgspec.structs.replace(message, content=tuple(bare))


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
