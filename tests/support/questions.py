"""Questions of MCP servers, put from a test, on a real control socket: real routes, no server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from lmrun.api.app import build_socket_app
from lmrun.api.control.elicitations import elicitation_routes
from lmrun.api.listener import make_server, open_control_socket
from lmrun.cli.client import Control
from lmrun.store.home import Home
from lmrun.tools.mcp.answering.elicitations import Elicitations
from lmrun.tools.mcp.answering.questions import Elicitation, Elicited


class Questions:
    """`control`: a client. `ask` puts a question; its result is the answer."""

    def __init__(self, home: Home, loop: asyncio.AbstractEventLoop) -> None:
        self.control = Control(home.control_socket)
        self.elicitations = Elicitations()
        self._home = home
        self._loop = loop

    def ask(self, question: Elicitation) -> Future[Elicited]:
        """Cancelling the result gives the question up."""
        return asyncio.run_coroutine_threadsafe(self.elicitations.ask(question), self._loop)

    def close(self) -> None:
        """As a server that ends."""
        self._loop.call_soon_threadsafe(self.elicitations.close)

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        server = make_server(build_socket_app(elicitation_routes(self.elicitations)))
        socket = open_control_socket(self._home.control_socket)
        serving = asyncio.create_task(server.serve(sockets=[socket]))
        started.set()
        await stop.wait()
        self.elicitations.close()
        server.end()
        await serving
        self._home.control_socket.unlink(missing_ok=True)


@contextmanager
def serving_questions(root: Path) -> Iterator[Questions]:
    """On the home `root`; nothing of it is left after the block."""
    home = Home(root)
    home.ensure()
    loop = asyncio.new_event_loop()
    questions = Questions(home, loop)
    started, stop = threading.Event(), asyncio.Event()

    def run() -> None:
        loop.run_until_complete(questions.serve(started, stop))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(20)
    try:
        yield questions
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        assert not thread.is_alive()
