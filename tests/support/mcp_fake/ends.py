"""Servers that end, or do not, or begin in odd ways."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from tests.support.mcp_fake.server import Json, behaviour, poked, server, tool


@poked
def exit_mid_call(id: Any, params: Json) -> None:
    os._exit(3)


@poked
def killed_mid_call(id: Any, params: Json) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@behaviour
def silence() -> None:
    server.tools.append(tool("seen"))
    server.on_poke = lambda id, params: None


@poked
def closes_stdout(id: Any, params: Json) -> None:
    os.close(1)
    while True:
        time.sleep(60)


@poked
def half_a_line_then_exit(id: Any, params: Json) -> None:
    server.write(b'{"jsonrpc":"2.0","id":%d,"resu' % id)
    os._exit(0)


@behaviour
def slow_start() -> None:
    time.sleep(0.7)


@behaviour
def exit_at_start() -> None:
    os.write(2, b"no such configuration\n")
    os._exit(2)


@behaviour
def never_ready() -> None:
    server.methods["initialize"] = lambda id, params: None


@behaviour
def wrong_version() -> None:
    server.version = "1999-01-01"


@behaviour
def ends_at_unknown_methods() -> None:
    """As some older servers do."""

    server.methods["server/discover"] = lambda id, params: os._exit(1)


@poked
def answers_too_late(id: Any, params: Json) -> None:
    def later() -> None:
        time.sleep(1.0)
        server.text(id, "too late")

    threading.Thread(target=later, daemon=True).start()


@poked
def reads_nothing(id: Any, params: Json) -> None:
    time.sleep(3600)


@poked
def survives_everything(id: Any, params: Json) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-S", "-c", stubborn])
    server.text(id, json.dumps([os.getpid(), child.pid]))
    time.sleep(600)


@poked
def leaves_a_child_behind(id: Any, params: Json) -> None:
    """Which holds its pipes open."""
    subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    os._exit(4)


@poked
def sends_one_away(id: Any, params: Json) -> None:
    """Out of its group and its session, an orphan that resists."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.write(writing, b"%d" % os.getpid())
            time.sleep(600)
        os._exit(0)
    os.wait()
    server.text(id, json.dumps([os.getpid(), int(os.read(reading, 32))]))
