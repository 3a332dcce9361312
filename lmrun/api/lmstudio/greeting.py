"""The greeting by which LM Studio's SDKs and its command line find a server."""

from __future__ import annotations

from typing import Literal

import msgspec
from starlette.types import ASGIApp

from lmrun.api.routes import Call
from lmrun.api.sse import JsonAnswer


class Greeting(msgspec.Struct, frozen=True):
    """Both SDKs look for exactly this field."""

    lmstudio: Literal[True] = True


async def greet(call: Call) -> ASGIApp:
    return JsonAnswer(Greeting())
