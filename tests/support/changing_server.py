"""A small MCP server over stdio; its tools are what a file says, as JSON, each time it is asked.

Run as a program, by its path: `changing_server.py TOOLS [STARTED]`. It writes its process id to
STARTED, and says that its tools have changed once a call has seen them change.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def main() -> None:
    tools = Path(sys.argv[1])
    if len(sys.argv) > 2:
        with open(sys.argv[2], "a") as started:
            started.write(f"{os.getpid()}\n")
    listed = ""
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        method, params = message["method"], message.get("params") or {}
        result: dict[str, Any] | None = None
        if method == "initialize":
            result = {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "changing", "version": "1"},
            }
        elif method == "tools/list":
            listed = tools.read_text()
            result = {"tools": json.loads(listed)}
        elif method == "tools/call":
            if tools.read_text() != listed:
                send({"method": "notifications/tools/list_changed"})
            result = {"content": [{"type": "text", "text": f"{params['name']} was called"}]}
        elif method == "ping":
            result = {}
        unknown = {"code": -32601, "message": method}
        body = {"error": unknown} if result is None else {"result": result}
        send({"id": message["id"], **body})


if __name__ == "__main__":
    main()
