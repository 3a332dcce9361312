"""The HTTP port as something that can be opened, moved and closed while the house stands.

It knows no route: the app is handed in.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import math
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from lmrun.api.door import Door
from lmrun.api.http.connection import PatientConnection
from lmrun.errors import AddressRefused
from lmrun.failpoints import reach
from lmrun.profile.schema import ServerConfig

log = logging.getLogger("lmrun.server")

MAX_HEADER_BYTES = 64 * 1024
BACKLOG = 1024
DRAIN_S = 30
CANCEL_S = 5.0
"""How long requests that were cancelled may take to end."""
DATE_S = 1.0
_NEW_DATE = 0
"""The count of ticks at which uvicorn makes a new date."""


class EmbeddedServer(uvicorn.Server):
    """uvicorn inside our loop: signals belong to the process, not to a listener.

    It sleeps until `end`. uvicorn's own loop looks ten times a second whether it should: of an idle
    server that was most of what it took, and of a busy one it took it from the cores that decode.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Take no more connections; `serve` returns when those there are have ended."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Until `end`, keep the date right that goes into each answer's head."""
        while not await self.on_tick(_NEW_DATE):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), DATE_S)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def make_server(
    app: ASGIApp, most_connections: Callable[[], float] = lambda: math.inf
) -> EmbeddedServer:
    """A server that trusts no proxy header and names itself to nobody. `most_connections` is asked
    at each new one."""
    protocol = partial(PatientConnection, most_connections=most_connections)
    return EmbeddedServer(
        uvicorn.Config(
            app,
            loop="none",
            http=cast("type[PatientConnection]", protocol),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_S,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        )
    )


class PortListener:
    """One bound address at a time. A move opens the new one before the old one drains."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._config: ServerConfig | None = None
        self._door = Door()
        self._address: str | None = None
        self._server: EmbeddedServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def config(self) -> ServerConfig | None:
        return self._config

    @property
    def door(self) -> Door:
        """The rules of the newest config, asked for by each request."""
        return self._door

    @property
    def address(self) -> str | None:
        return self._address

    async def listen(self, config: ServerConfig) -> None:
        """Open `config`'s host and port, then close the former ones.

        Raises AddressRefused, and changes nothing then.
        """
        door = Door.from_config(config)
        sockets = open_sockets(config.host, config.port)
        server = make_server(self._app, self._most_connections)
        previous = self._server
        self._server, self._config, self._door = server, config, door
        self._address = f"http://{_for_url(config.host)}:{sockets[0].getsockname()[1]}"
        self._keep(server.serve(sockets=sockets))
        reach("listen.opened")
        log.info("listening on %s", self._address)
        if previous is not None:
            previous.end()

    def update(self, config: ServerConfig) -> None:
        """Serve by `config` from the next request on.

        Raises AddressRefused when no door can be made of it, and changes nothing then.
        """
        self._door = Door.from_config(config)
        self._config = config

    async def close(self, *, drain_s: float) -> None:
        """Take no more connections, let requests finish for `drain_s`, then end them."""
        if self._server is not None:
            self._server.config.timeout_graceful_shutdown = math.ceil(drain_s)
            self._server.end()
        self._address = None
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_s + CANCEL_S):
                await asyncio.gather(*self._tasks)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _most_connections(self) -> float:
        return (self._config or ServerConfig()).limits.connections

    def _keep(self, serving: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(serving)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for `host`: one, or both loopback families for `localhost`.

    Raises AddressRefused with what stands in the way.
    """
    hosts = ["127.0.0.1", "::1"] if host == "localhost" else [host]
    opened: list[socket.socket] = []
    for name in hosts:
        try:
            opened.append(_open_socket(name, opened[0].getsockname()[1] if opened else port))
        except OSError as error:
            if opened and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue  # A machine without IPv6 still has a localhost.
            for bound in opened:
                bound.close()
            raise _refusal(host, port, error) from error
    return opened


def _open_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, asyncio turns Nagle's algorithm off; with it, each answer on a kept connection
    # would wait 40 ms for the client's delayed acknowledgement.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((host, port))
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _refusal(host: str, port: int, error: OSError) -> AddressRefused:
    if error.errno == errno.EADDRINUSE:
        return AddressRefused(
            f"Port {port} on {host} is in use by another program.",
            hint="Stop that program, or set another `server.port` in the profile.",
        )
    if error.errno == errno.EACCES:
        return AddressRefused(
            f"Port {port} needs more rights than this user has.",
            hint="Set `server.port` to 1024 or above.",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return AddressRefused(
            f"{host} is not an address of this machine.", hint="Set `server.host` to one that is."
        )
    return AddressRefused(f"Cannot listen on {host}:{port}: {error.strerror or error}.")


def _for_url(host: str) -> str:
    """A host that a client can use: a wildcard address is reachable as loopback."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return f"[{host}]" if address.version == 6 else host


def open_control_socket(path: Path) -> socket.socket:
    """A unix socket that only this user can reach, in place of a dead one.

    The caller holds the server's lock, so whatever lies there belongs to nobody alive.
    """
    with suppress(FileNotFoundError):
        path.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        previous = os.umask(0o177)
        try:
            bound.bind(os.fspath(path))
        finally:
            os.umask(previous)
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise AddressRefused(f"Cannot open the control socket {path}: {error.strerror}.") from error
    return bound
