"""From a name to a connection: resolved once, every address checked, and only then connected to
just such an address. It knows no HTTP."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import httpcore2

from lmrun.errors import OutboundRefused
from lmrun.settings.addresses import Address, parse_host
from lmrun.settings.outbound import OutboundPolicy

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
"""The addresses of a name, best first. Raises OSError where there is none."""

MAX_ATTEMPTS = 4
"""Addresses of one name that are tried; they share the time there is."""
MAX_FIRST_S = 3.0
"""For each of them but the last: networks drop what goes to addresses that they do not carry."""

_RESOLVING = ThreadPoolExecutor(8, thread_name_prefix="resolve")
"""Threads of their own: names that nobody answers for must not hold up the server's files."""


async def resolve(host: str, port: int) -> Sequence[Address]:
    """What the system's resolver says."""
    loop = asyncio.get_running_loop()
    ask = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        found = await loop.run_in_executor(_RESOLVING, ask)
    except UnicodeError as error:
        raise OSError(f"{host} is no name: {error}") from None
    addresses = [ip_address(str(place[0]).partition("%")[0]) for *_, place in found]
    return list(dict.fromkeys(addresses))


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections for HTTP's connection pools. The pool verifies certificates for the name,
    and this sees to where the name leads: no second look-up lies between check and connection."""

    def __init__(self, policy: OutboundPolicy, resolve: Resolve, *, is_encrypted: bool) -> None:
        self._policy = policy
        self._resolve = resolve
        self._is_encrypted = is_encrypted
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Raises OutboundRefused, and httpcore2's ConnectError and ConnectTimeout."""
        addresses = await self._look_up(host, port, timeout)
        for address in addresses:
            self._policy.check_address(address, host, is_encrypted=self._is_encrypted)
        attempts = addresses[:MAX_ATTEMPTS]
        share = None if timeout is None else timeout / len(attempts)
        for left in range(len(attempts) - 1, -1, -1):
            wait = share if share is None or not left else min(share, MAX_FIRST_S)
            try:
                return await self._inner.connect_tcp(
                    str(attempts[-1 - left]), port, wait, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _look_up(self, host: str, port: int, timeout: float | None) -> Sequence[Address]:
        address = parse_host(host)
        if address is not None:
            return [address]
        try:
            async with asyncio.timeout(timeout):
                found = await self._resolve(host, port)
        except TimeoutError:
            raise httpcore2.ConnectTimeout(f"{host} was not resolved in time") from None
        except OSError as error:
            raise httpcore2.ConnectError(f"{host} cannot be resolved: {error}") from None
        if not found:
            raise httpcore2.ConnectError(f"{host} has no address")
        return found

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        raise OutboundRefused("Sockets in the file system may not be reached from here.")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
