"""MCP servers for Node, as they are published, through lmrun's host. Run by `python -m tests.node`,
which installs them."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lmrun.errors import LmrunError
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.tools.mcp.answering.questions import Elicited
from lmrun.tools.mcp.host import McpHost
from tests.node.__main__ import INSTALLED
from tests.support.server import eventually, free_port
from tests.tools.mcp.support import call, hosting, run
from tests.tools.mcp.test_asking import OneModel, Somebody

PACKAGES = INSTALLED / "node_modules" / "@modelcontextprotocol"
NODE = shutil.which("node") or "node"
EVERYTHING = [NODE, str(PACKAGES / "server-everything" / "dist" / "index.js")]
FILESYSTEM = [NODE, str(PACKAGES / "server-filesystem" / "dist" / "index.js")]

CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "echo": ({"message": "hello"}, "Echo: hello"),
    "get-annotated-message": (
        {"messageType": "error", "includeImage": True},
        "[an image, image/png",
    ),
    "get-env": ({}, '"PATH"'),
    "get-resource-links": ({"count": 2}, "[the resource Text Resource 2: demo://"),
    "get-resource-reference": ({"resourceType": "Text", "resourceId": 1}, "This is a plaintext"),
    "get-roots-list": ({}, "file://"),
    "get-structured-content": ({"location": "Chicago"}, '"temperature":36'),
    "get-sum": ({"a": 1, "b": 2}, "The sum of 1 and 2 is 3."),
    "get-tiny-image": ({}, "[an image, image/png, "),
    "gzip-file-as-resource": (
        {"name": "a.gz", "data": "data:text/plain,hello", "outputType": "resource"},
        "[the resource demo://resource/session/a.gz, application/gzip",
    ),
    "toggle-simulated-logging": ({}, "Started simulated"),
    "toggle-subscriber-updates": ({}, "Started simulated"),
    "trigger-elicitation-request": ({}, "- Name: Ada"),
    "trigger-long-running-operation": ({"duration": 0.2, "steps": 2}, "completed"),
    "trigger-sampling-request": ({"prompt": "How many?"}, '"text": "42"'),
    "trigger-url-elicitation": ({"url": "https://example.com/x"}, "completed the URL"),
    "simulate-research-query": ({"topic": "python", "ambiguous": True}, "python (snake)"),
    "read_resource": ({"uri": "demo://resource/dynamic/text/1"}, "This is a plaintext"),
}


def _declare(**given: Any) -> McpServerConfig:
    fields = {"tools": {"allow": ["*"]}, "start_timeout": "60s", "timeout": "20s", **given}
    return McpServerConfig.model_validate(fields)


ASKING = {
    "sampling": {"model": "assistant"},
    "elicitation": True,
    "roots": ["."],
    "resources": True,
    "prompts": True,
}


def test_every_tool_of_everything_is_called_over_stdio() -> None:
    run(_call_everything(_declare(command=[*EVERYTHING, "stdio"], **ASKING)))


def test_every_tool_of_everything_is_called_over_streamable_http() -> None:
    with everything_over_http() as url:
        run(_call_everything(_declare(url=url, **ASKING)))


async def _call_everything(config: McpServerConfig) -> None:
    models = OneModel()
    somebody = Somebody(
        Elicited("accept", {"name": "Ada"}),
        Elicited("accept"),
        Elicited("accept", {"interpretation": "snake"}),
    )
    async with hosting({"s": config}, models=models, elicit=somebody) as host:
        await _when_up(host)
        # It offers some of them once it knows what the client can do.
        names = await _all_tools(host)
        results = {name: await call(host, "s", name, **CALLS[name][0]) for name in CALLS}
        (simple, *_) = [it.name for it in await host.list_prompts("s")]
        messages = await host.get_prompt("s", simple, {})

        assert names == set(CALLS)
        for name, result in results.items():
            assert (result.error, CALLS[name][1] in result.text) == (None, True), (name, result)
        assert len(models.asked) == 1
        assert [it.url for it in somebody.asked] == [None, "https://example.com/x", None]
        assert messages[0].role == "user"
        assert [it for it in host.statuses()["s"].tools if it.fault is not None] == []


async def _all_tools(host: McpHost) -> set[str]:
    names: set[str] = set()
    async with asyncio.timeout(10):
        while len(names) < len(CALLS):
            names = {it.spec.path.rpartition("/")[2] for it in await host.tools("s")}
            await asyncio.sleep(0.05)
    return names


def test_files_are_reached_where_roots_allow_it_and_nowhere_else(tmp_path: Path) -> None:
    for name in ("work", "work-evil", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(f"in {name}")
    (tmp_path / "work" / "way-out").symlink_to(tmp_path / "other")

    def declare(root: str) -> McpServerConfig:
        return _declare(command=[*FILESYSTEM, str(tmp_path / "work")], roots=[root])

    async def read(host: McpHost, path: str) -> tuple[str | None, str]:
        result = await call(host, "s", "read_text_file", path=str(tmp_path / path))
        return result.error, result.text

    async def body() -> None:
        async with hosting({"s": declare("work")}, directory=tmp_path) as host:
            assert len(await host.tools("s")) > 10
            assert await read(host, "work/a.txt") == (None, "in work")
            written = await call(
                host, "s", "write_file", path=str(tmp_path / "work/b.txt"), content="written"
            )
            assert written.error is None
            assert (tmp_path / "work/b.txt").read_text() == "written"
            for path in ("work-evil/a.txt", "work/../other/a.txt", "work/way-out/a.txt"):
                error, text = await read(host, path)
                assert (error, "Access denied" in text) == ("failed", True)

            pid = host.statuses()["s"].pid
            await host.adopt({"s": declare("other")}, {"s": tmp_path})
            await _until_allowed(host, tmp_path / "other")
            assert await read(host, "other/a.txt") == (None, "in other")
            assert (await read(host, "work/a.txt"))[0] == "failed"
            assert host.statuses()["s"].pid == pid

    run(body())


async def _until_allowed(host: McpHost, folder: Path) -> None:
    async with asyncio.timeout(10):
        while str(folder) not in (await call(host, "s", "list_allowed_directories")).text:
            await asyncio.sleep(0.05)


async def _when_up(host: McpHost) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await host.definitions("s")
            except LmrunError:
                await asyncio.sleep(0.1)
            else:
                return


@contextmanager
def everything_over_http() -> Iterator[str]:
    """Its URL, once it listens."""
    port = free_port()
    with subprocess.Popen(
        [*EVERYTHING, "streamableHttp"],
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            eventually(lambda: _listens(port), within_s=30)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
