"""Writing profiles and scripted models for tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.server import free_port

SLOW = {"match": "slowly", "pieces": ["tick "], "repeat": 2000, "seconds_per_token": 0.05}
"""Takes 100 s unless somebody leaves."""

HELLO = {"pieces": ["Hello", " world"]}


def write_script(path: Path, *replies: dict[str, Any], **fields: Any) -> Path:
    """A scripted model; the last reply is the default."""
    path.write_text(json.dumps({"replies": list(replies or (SLOW, HELLO)), **fields}))
    return path


def write_profile(
    path: Path,
    models: dict[str, dict[str, Any]],
    *,
    port: int | None = None,
    **sections: Any,
) -> Path:
    """A profile on a free port of its own, unless `port` is given. JSON is YAML, too."""
    server = {"port": free_port() if port is None else port, **sections.pop("server", {})}
    content = {"version": 1, "server": server, "models": models, **sections}
    path.write_text(json.dumps(content, indent=2))
    return path


def chat_body(prompt: str, *, model: str = "a", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}


@contextmanager
def posting(
    address: str, body: dict[str, Any], path: str = "/v1/chat/completions"
) -> Iterator[HTTPResponse]:
    """An open response: leaving the block closes the connection, finished or not."""
    url = urlsplit(address)
    assert url.hostname is not None
    connection = HTTPConnection(url.hostname, url.port, timeout=30)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        yield connection.getresponse()
    finally:
        connection.close()


def ask(address: str, prompt: str, **fields: Any) -> str:
    """The whole answer."""
    with posting(address, chat_body(prompt, **fields)) as response:
        answer = json.load(response)
        assert response.status == 200, answer
        return str(answer["choices"][0]["message"]["content"])


def read_events(response: HTTPResponse) -> Iterator[dict[str, Any]]:
    """The documents of an SSE response, up to `[DONE]` or its end."""
    for line in response:
        if line.startswith(b"data: [DONE]"):
            return
        if line.startswith(b"data: "):
            yield json.loads(line[6:])
