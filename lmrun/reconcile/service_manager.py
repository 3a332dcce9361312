"""What the service manager that started this process is told: ready, still alive, stopping.

systemd's protocol (sd_notify): datagrams of `NAME=value` lines to the socket in `$NOTIFY_SOCKET`.
Without one, nobody is told.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

log = logging.getLogger("lmrun.server")

_LOOKS = 20
"""How often, within one ping's time, it is seen whether the reconciler has looked."""


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """`address`: its socket, None for nobody. `watchdog_s`: it ends this process when it hears
    nothing for so long, None when it does not."""

    address: str | None = None
    watchdog_s: float | None = None

    @staticmethod
    def take(environment: MutableMapping[str, str]) -> ServiceManager:
        """The one that `environment` names, and which is then named there no more: what this
        process starts is not to speak for it."""
        address = environment.pop("NOTIFY_SOCKET", None)
        watchdog_us = environment.pop("WATCHDOG_USEC", "")
        watched_pid = environment.pop("WATCHDOG_PID", "")
        if not address or address[0] not in "/@":
            return ServiceManager()
        is_watched = watchdog_us.isdecimal() and watched_pid in ("", str(os.getpid()))
        watchdog_s = int(watchdog_us) / 1e6 if is_watched else 0.0
        return ServiceManager(address, watchdog_s or None)

    def tell(self, **values: str) -> None:
        """For example `READY="1"`. What cannot be told is logged: the work goes on."""
        if self.address is None:
            return
        # A name that begins with @ lies in Linux's abstract namespace, without a file.
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        message = "\n".join(f"{name}={_on_one_line(value)}" for name, value in values.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.connect(address)
                sender.send(message.encode())
        except OSError as error:
            log.error("the service manager cannot be told %s: %s", ", ".join(values), error)

    async def keep_alive(
        self, wake: Callable[[], None], has_looked: Callable[[], bool], describe: Callable[[], str]
    ) -> None:
        """Say every third of the watchdog's time that this process is alive, until cancelled.

        Alive is who still works: `wake` makes the reconciler look, `has_looked` tells whether it
        has since. `describe`: one line for people.
        """
        if self.watchdog_s is None:
            return
        pause_s = self.watchdog_s / 3
        while True:
            wake()
            for _ in range(_LOOKS):
                await asyncio.sleep(pause_s / _LOOKS)
                if has_looked():
                    self.tell(WATCHDOG="1", STATUS=describe())
                    break
            else:
                log.error("the reconciler has not looked for %.1f s", pause_s)
                continue
            await asyncio.sleep(pause_s)


def _on_one_line(text: str) -> str:
    return " ".join(text.split())
