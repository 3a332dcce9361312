"""No field of a request on the port can name a process to start (RELIABILITY T2): by the schemas of
all routes, and by trying on a real server that tells of every process it starts."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from lmrun.api.control.handlers import Control
from lmrun.api.control.mcp import McpHouse, mcp_routes
from lmrun.api.control.routes import control_routes
from lmrun.api.openapi import make_openapi
from lmrun.reference import list_routes
from tests.support.http import Port, Reply
from tests.support.profiles import write_profile, write_script
from tests.support.server import Server, eventually

TABLE = list_routes()
DOCUMENT = make_openapi(TABLE)
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]

NAMES_OF_PROCESSES = {
    *("arg", "args", "arguments", "argv", "binary", "bin", "cmd", "command", "commands", "cwd"),
    *("dir", "directory", "entrypoint", "env", "environ", "environment", "exe", "exec"),
    *("executable", "file", "filename", "files", "folder", "home", "interpreter", "launch"),
    *("module", "path", "paths", "plugin", "popen", "process", "program", "python", "run"),
    *("script", "shell", "socket", "spawn", "stdin", "stdio", "workdir"),
}
"""Words that, anywhere in a field's name, could mean a program, its arguments or its surroundings,
or a file that might be one."""

HARMLESS = {
    "arguments": "of a tool that is declared: of a call that the model made, or is shown to "
    "somebody; they are checked against the tool's schema",
    "parsed_arguments": "the same, as the openai client repeats them; not read",
    "file": "a part of a message that holds the file itself; refused",
    "filename": "a label of such a part; no file is opened",
    "file_data": "the file itself; refused",
    "file_id": "an uploaded file of OpenAI's; refused",
    "file_url": "refused",
}
"""Names with such a word that are fine, and why."""

OPEN = {
    "params": "of lmrun's own MCP server, which the MCP SDK speaks for; tried below",
    "result": "the same",
    "annotations": "of an answer's text, repeated by clients; not read",
    "cache_control": "a mark for Anthropic's cache; not read",
    "chat_template_kwargs": "variables of a chat template, which only the worker renders",
    "error": "of an answer that clients repeat; not read",
    "input": "of a tool call that is part of the conversation; text for the model",
    "input_examples": "of a tool that the client runs; refused or text for the model",
    "input_schema": "a JSON schema",
    "json_schema": "a JSON schema",
    "logprobs": "of an answer that clients repeat; not read",
    "markers": "of a grammar's output format; texts for the parser",
    "parameters": "a JSON schema",
    "parsed": "of an answer that the openai client repeats; not read",
    "parsed_arguments": "the same",
    "prompt_cache_breakpoint": "a mark for OpenAI's cache; not read",
    "schema": "a JSON schema",
    "thread": "refused",
    "tools": "of a server's list that clients repeat; not read",
}
"""Fields that take any JSON, so that no schema says what is in them, and why that is fine."""


def fields_of(schema: Any, where: str, done: set[str]) -> Iterator[tuple[str, str, bool]]:
    """Every field that `schema` allows: where it is, its name, and whether it takes anything."""
    if not isinstance(schema, dict) or not schema:
        if schema is not False:
            yield where, re.sub(r"(\[\]|\.\*)+$", "", where).rpartition(".")[2], True
        return
    name = schema.get("$ref", "").rpartition("/")[2]
    if name and name not in done:
        done.add(name)
        yield from fields_of(SCHEMAS[name], name, done)
    for field, child in schema.get("properties", {}).items():
        yield f"{where}.{field}", field, False
        yield from fields_of(child, f"{where}.{field}", done)
    for child in itertools.chain.from_iterable(schema.get(it, ()) for it in BRANCHES):
        yield from fields_of(child, where, done)
    for suffix, child in inner_schemas(schema):
        yield from fields_of(child, f"{where}{suffix}", done)
    if not SAYS_WHAT & schema.keys():
        yield from fields_of(True, where, done)


BRANCHES = ("anyOf", "oneOf", "allOf")
SAYS_WHAT = {*BRANCHES, "$ref", "type", "enum", "const"}


def inner_schemas(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What items of a list, and fields without a name of their own, may be."""
    kinds = schema.get("type", ())
    if "object" in kinds:
        yield ".*", schema.get("additionalProperties", True)
    if "array" in kinds:
        heads = schema.get("prefixItems", ())
        for child in (*heads, schema.get("items", not heads)):
            yield "[]", child


def all_fields() -> list[tuple[str, str, bool]]:
    """Of every body, and every parameter in paths, queries and headers."""
    found: list[tuple[str, str, bool]] = []
    done: set[str] = set()
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            where = f"{method.upper()} {path}"
            found += [(where, it["name"], False) for it in operation["parameters"]]
            for content in operation.get("requestBody", {}).get("content", {}).values():
                found += fields_of(content["schema"], where, done)
    return found


FIELDS = all_fields()


def words_of(name: str) -> set[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return set(re.split(r"[^a-z0-9]+", spaced.lower()))


def test_the_fields_of_all_requests_are_looked_at() -> None:
    """So that the tests below cannot pass by looking at nothing."""
    bodies = [route for route in TABLE if route.request is not None]
    names = {name for _, name, _ in FIELDS}
    assert len(bodies) >= 15 and len(FIELDS) > 300
    assert names >= {"model", "messages", "server_url", "server_label", "integrations", "last"}
    nested = {where for where, _, _ in FIELDS}
    assert any(where.endswith(".image_url.url") or ".url" in where for where in nested)


def test_no_field_has_the_name_of_a_process() -> None:
    wrong = {
        (where, name)
        for where, name, _ in FIELDS
        if words_of(name) & NAMES_OF_PROCESSES and name not in HARMLESS
    }
    assert wrong == set(), "rename it, or say in HARMLESS why it can start nothing"


def test_no_field_takes_anything_without_a_reason() -> None:
    wrong = {(where, name) for where, name, is_open in FIELDS if is_open and name not in OPEN}
    assert wrong == set(), "type it, or say in OPEN why nothing in it can start a process"


def test_the_reasons_are_still_needed() -> None:
    names = {name for _, name, _ in FIELDS}
    assert set(HARMLESS) <= names
    assert {name for _, name, is_open in FIELDS if is_open} == set(OPEN)


@pytest.mark.parametrize(
    "name",
    ["command", "argv", "executable", "mcpCommand", "server-env", "working_directory", "Cwd"],
)
def test_such_names_would_be_found(name: str) -> None:
    schema = {
        "anyOf": [
            {
                "type": "object",
                "properties": {
                    "x": {
                        "type": "array",
                        "items": {"type": "object", "properties": {name: {"type": "string"}}},
                    }
                },
            }
        ]
    }
    found = {it for _, it, _ in fields_of(schema, "here", set())}
    assert name in found
    assert words_of(name) & NAMES_OF_PROCESSES


TELLING = """
import os, sys
out = os.open(os.environ["TOLD"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
KINDS = ("subprocess.Popen", "os.posix_spawn", "os.exec", "os.fork", "os.forkpty", "os.system",
         "os.spawn", "pty.spawn")
def tell(event, args):
    if event in KINDS:
        os.write(out, (event + " " + ascii(args[:2]) + "\\n").encode())
sys.addaudithook(tell)
from lmrun.cli.main import main
sys.exit(main())
"""
"""lmrun, with a note of every process that it starts."""


class Told:
    """A server that tells, and what it told."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.server = server
        self.sentinel = folder / "sentinel"
        self._told = folder / "told"
        self.port = Port(int(server.address.rpartition(":")[2]))

    @property
    def processes(self) -> list[str]:
        return self._told.read_text().splitlines()

    def ask(self, method: str, path: str, body: Any, **headers: str) -> Reply:
        return self.port.ask(method, path, body, **headers)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Requests may bring MCP servers along, as far as a profile can allow it."""
    folder = tmp_path_factory.mktemp("told")
    write_script(folder / "a.scripted.json")
    profile = write_profile(
        folder / "p.yaml",
        {"a": {"source": "file:./a.scripted.json"}},
        port=0,
        server={"mcp": {"ephemeral": True}},
    )
    with Server(
        folder,
        str(profile),
        environment={"TOLD": str(folder / "told")},
        program=(sys.executable, "-P", "-c", TELLING),
    ) as server:
        server.ready("a")
        yield Told(folder, server)


def test_the_start_of_a_worker_is_told(told: Told) -> None:
    """So that the tests below cannot pass by being told nothing."""
    assert any("lmrun.worker" in line for line in told.processes)


def attempts(sentinel: Path) -> dict[str, dict[str, Any]]:
    """Every way of other programs and ours to say that a command is an MCP server, or a tool."""
    command = ["/usr/bin/touch", str(sentinel)]
    stdio = {"command": command[0], "args": command[1:], "env": {"A": "1"}, "cwd": "/"}
    bodies: dict[str, dict[str, Any]] = {
        "mcp_servers": {"mcp_servers": {"evil": {"command": command}}},
        "mcpServers": {"mcpServers": {"evil": stdio}},
        "a list of mcp_servers": {"mcp_servers": [{"type": "stdio", "name": "evil", **stdio}]},
        "tools of a profile": {"tools": {"evil": {"command": command}}},
        "profile": {"profile": {"version": 1, "tools": {"evil": {"command": command}}}},
        "a path": {"path": str(sentinel.parent / "p.yaml")},
        "command": {"command": command},
    }
    for kind in ("mcp", "stdio", "shell", "local_shell", "command", "plugin", "ephemeral_mcp"):
        tool = {"type": kind, "server_label": "evil", "id": "evil", "name": "evil", **stdio}
        bodies[f"tools {kind}"] = {"tools": [tool]}
        bodies[f"integrations {kind}"] = {"integrations": [tool]}
    for url in (
        f"stdio:/usr/bin/touch {sentinel}",
        f"file:///usr/bin/touch?{sentinel}",
        f"https://a$(touch {sentinel})/",
        f"--exec=touch {sentinel}",
        f"|touch {sentinel}",
        "http://127.0.0.1:1/",
        "unix:///tmp/x.sock",
    ):
        server = {"server_label": "evil", "server_url": url}
        bodies[f"tool {url[:12]}"] = {"tools": [{"type": "mcp", **server}]}
        bodies[f"integration {url[:12]}"] = {"integrations": [{"type": "ephemeral_mcp", **server}]}
    for name in ("../../evil", "mcp//usr/bin/touch", f"touch {sentinel}", "mcp/evil"):
        bodies[f"integration {name[:12]}"] = {"integrations": [name]}
    return bodies


BASES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"model": "a", "prompt": "Hi"},
    "/v1/embeddings": {"model": "a", "input": "Hi"},
    "/v1/messages": {
        "model": "a",
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "Hi"}],
    },
    "/v1/responses": {"model": "a", "input": "Hi"},
    "/api/v1/chat": {"model": "a", "input": "Hi"},
    "/api/v1/models/load": {"model": "a"},
    "/api/v1/models/unload": {"instance_id": "a"},
}
"""What a route wants besides; others take a chat."""


@pytest.mark.parametrize(
    "path", sorted({route.path for route in TABLE if route.request is not None})
)
def test_no_request_starts_a_process(told: Told, path: str) -> None:
    base = BASES.get(path, {"model": "a", "messages": [{"role": "user", "content": "Hi"}]})
    before = told.processes
    for what, extra in attempts(told.sentinel).items():
        reply = told.ask("POST", re.sub(r"\{[^}]*\}", "evil", path), {**base, **extra})
        assert 400 <= reply.status < 500, (what, reply.status, reply.body[:500])
    assert told.processes == before
    assert not told.sentinel.exists()


def test_what_the_socket_can_do_the_port_cannot(told: Told) -> None:
    public = {(route.method, route.path) for route in TABLE}
    private = [
        route
        for route in (*control_routes(cast(Control, None)), *mcp_routes(cast(McpHouse, None)))
        if (route.method, route.path) not in public
    ]
    assert {route.path for route in private} >= {"/lmrun/v1/apply", "/lmrun/v1/plan"}
    assert any("mcp" in route.path for route in private)
    guesses = ["mcp_servers", "mcp/servers", "mcp/approve", "tools", "profile", "servers/evil"]
    before = told.processes
    command = {"command": ["/usr/bin/touch", str(told.sentinel)], "name": "evil"}
    for method, path in itertools.chain(
        ((route.method, route.path) for route in private),
        itertools.product(("POST", "PUT", "PATCH"), (f"/lmrun/v1/{it}" for it in guesses)),
    ):
        for body in (command, *attempts(told.sentinel).values()):
            reply = told.ask(method, re.sub(r"\{[^}]*\}", "evil", path), body)
            assert reply.status in (404, 405), (method, path, reply.status)
    assert told.processes == before
    assert not told.sentinel.exists()


UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def test_no_websocket_is_opened_so_none_has_fields(told: Told) -> None:
    """Whoever opens the first one adds its messages to this module."""
    for path in sorted({re.sub(r"\{[^}]*\}", "x", route.path) for route in TABLE}):
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{told.port.number}\r\n{UPGRADE}\r\n"
        with told.port.connect() as sock:
            sock.sendall(head.encode())
            assert sock.recv(12) not in (b"", b"HTTP/1.1 101"), path


@pytest.mark.parametrize("method", ["tools/call", "tools/list", "initialize", "servers/add", "x"])
def test_no_message_to_the_mcp_server_starts_a_process(told: Told, method: str) -> None:
    before = told.processes
    for extra in attempts(told.sentinel).values():
        for params in (extra, {"name": "evil", "arguments": extra}, {"name": "chat", **extra}):
            message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            reply = told.ask("POST", "/mcp", message, accept="application/json, text/event-stream")
            assert reply.status < 500, (params, reply)
    assert told.processes == before
    assert not told.sentinel.exists()


def test_a_command_in_a_profile_is_not_run_before_it_is_needed_and_agreed_to(told: Told) -> None:
    """The way that there is: a file, over the socket. Even then nothing is started at once."""
    folder = told.sentinel.parent
    command = ["/usr/bin/touch", str(told.sentinel)]
    profile = write_profile(
        folder / "with-mcp.yaml",
        {"a": {"source": "file:./a.scripted.json"}},
        port=0,
        server={"mcp": {"ephemeral": True}},
        mcp_servers={"evil": {"command": command, "tools": {"allow": ["*"]}}},
        agents={"helper": {"model": "a", "tools": ["mcp/evil/*"]}},
    )
    before = told.processes
    told.server.apply(profile)
    eventually(lambda: told.server.status.profile is not None)
    told.ask("POST", "/v1/chat/completions", {**CHAT, "model": "helper"})
    told.ask(
        "POST",
        "/v1/responses",
        {**BASES["/v1/responses"], "tools": [{"type": "mcp", "server_label": "evil"}]},
    )
    assert [line for line in told.processes if line not in before] == []
    assert not told.sentinel.exists()


CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
