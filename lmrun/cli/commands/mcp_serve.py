"""`lmrun mcp serve`: lmrun's MCP server for a program that speaks over pipes.

It answers nothing itself: the running server does.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from lmrun.cli.client import Control
from lmrun.errors import ServerUnreachable
from lmrun.store.home import Home
from lmrun.tools.mcp.bridge import bridge


def serve(*, home: Home) -> None:
    """Until standard input ends. Raises LmrunError where no server runs."""
    if not Control(home.control_socket).is_listening():
        raise ServerUnreachable("lmrun is not running.", hint="`lmrun apply PROFILE` starts it.")
    # Standard output is the protocol's.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    asyncio.run(bridge(home.control_socket))
