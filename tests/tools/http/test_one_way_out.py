"""There is one way out (RELIABILITY T5): nothing but the guarded client connects to elsewhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3] / "lmrun"

CONNECTS = {
    *("AsyncClient", "AsyncConnectionPool", "AsyncHTTPTransport", "HTTPTransport", "Client"),
    *("ConnectionPool", "HTTPConnection", "HTTPSConnection", "create_connection", "connect_tcp"),
    *("open_connection", "urlopen", "urlretrieve", "create_mcp_http_client", "ClientSession"),
}
LIBRARIES = {"httpx2", "httpcore2", "httpx", "http", "urllib", "socket", "asyncio", "anyio", "mcp"}

TO_LMRUN_ITSELF = {"cli/client.py", "client/http.py", "bridge.py"}
"""Clients of lmrun's own server, whose address a person gives."""


def connecting_calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Calls that open connections, or make what opens them: `library.Name(…)`."""
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else None
        is_close = isinstance(called, ast.Attribute) and called.attr in CONNECTS
        if called is not None and is_close and ast.unparse(called).split(".")[0] in LIBRARIES:
            yield called.lineno, ast.unparse(called)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in LIBRARIES:
            # The MCP SDK's session opens nothing: it speaks over a transport that it is given.
            for name in {it.name for it in node.names} & CONNECTS - {"ClientSession", "Client"}:
                yield node.lineno, f"from {node.module} import {name}"


def test_nothing_else_connects_to_other_machines() -> None:
    found: list[str] = []
    for file in sorted(ROOT.rglob("*.py")):
        path = file.relative_to(ROOT).as_posix()
        if path.startswith("tools/http/") or path.endswith(tuple(TO_LMRUN_ITSELF)):
            continue
        calls = connecting_calls(ast.parse(file.read_text(encoding="utf-8")))
        found += [f"{path}:{line}: {call}" for line, call in calls]
    assert found == [], "use lmrun.tools.http.outbound"


def test_the_mcp_sdk_is_given_the_guarded_client() -> None:
    """Its transports make clients of their own where they are given none."""
    wanted = {"streamable_http_client": "http_client", "sse_client": "httpx_client_factory"}
    seen = set()
    for file in sorted((ROOT / "tools").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(node, ast.Call) and isinstance(called, ast.Name) and called.id in wanted:
                given = {it.arg for it in node.keywords}
                assert wanted[called.id] in given, f"{file}:{node.lineno}"
                seen.add(called.id)
    assert seen == set(wanted)


def test_such_calls_would_be_found() -> None:
    code = "httpx2.AsyncClient()\nurllib.request.urlopen(x)\nfrom httpx2 import AsyncClient\n"
    assert {line for line, _ in connecting_calls(ast.parse(code))} == {1, 2, 3}
    here = (ROOT / "tools/http/outbound.py").read_text(encoding="utf-8")
    assert list(connecting_calls(ast.parse(here)))
