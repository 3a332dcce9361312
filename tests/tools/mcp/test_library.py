"""Prompts and resources, with which conversations begin: what servers give, and what not."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from lmrun.chat.messages import ImagePart, Message
from lmrun.errors import (
    McpError,
    McpNotFound,
    McpProtocol,
    McpUnreachable,
    McpUnusable,
    OutboundFailed,
)
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.profile.tooling.policy import PolicyConfig
from lmrun.tools.act.opening import Opened, Opening, PromptWish, ResourceWish
from lmrun.tools.mcp.consent import Fault
from lmrun.tools.mcp.host import McpHost
from lmrun.tools.mcp.renaming import renamed
from lmrun.tools.mcp.sources import find_sources
from lmrun.tools.policy.gate import Wish
from lmrun.tools.policy.rules import decide
from lmrun.tools.tool import Caller
from tests.tools.mcp.support import (
    EverythingAgreed,
    call,
    declare,
    eventually,
    hosting,
    run,
)


def library(**fields: Any) -> McpServerConfig:
    return declare("library", **{"resources": True, "prompts": True, **fields})


def get(
    prompt: str, given: dict[str, str] | None = None, server: McpServerConfig | None = None
) -> tuple[Message, ...]:
    async def body() -> tuple[Message, ...]:
        async with hosting({"s": server or library()}) as host:
            return await host.get_prompt("s", prompt, given or {})

    return run(body())


def read(uri: str, config: McpServerConfig | None = None) -> Any:
    async def body() -> Any:
        async with hosting({"s": config or library()}) as host:
            return await host.read_resource("s", uri)

    return run(body())


def test_a_prompt_is_filled_in_and_its_messages_keep_their_roles() -> None:
    (asked,) = get("review", {"language": "de", "tone": "kind"})
    assert (asked.role, asked.content) == ("user", "Review this in de, in a kind tone.")
    assert [(it.role, it.content) for it in get("plain")] == [
        ("user", "Read this."),
        ("assistant", "I have."),
    ]


@pytest.mark.parametrize(
    ("prompt", "content"),
    [
        ("embedded", "the text inside"),
        ("encoded", "It rains."),
        ("link", "[the resource a: note://a]"),
        ("odd", "Read this."),
    ],
)
def test_what_is_text_in_a_prompt_is_read_as_text(prompt: str, content: str) -> None:
    assert [it.content for it in get(prompt)] == [content]


@pytest.mark.parametrize("prompt", ["picture", "embedded_picture"])
def test_a_picture_in_a_prompt_is_one(prompt: str) -> None:
    (message,) = get(prompt)
    (part,) = tuple(message.content)
    assert isinstance(part, ImagePart)
    assert part.data.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("prompt", "arguments", "words"),
    [
        ("sound", {}, "holds a sound, audio/wav"),
        ("archive", {}, "note://inside is no text and no image: application/zip"),
        ("endless", {}, "300 messages"),
        ("long", {}, "70000 bytes of text, more than the server's `max_output`, 65536"),
        ("revue", {}, "no such prompt. It has review, plain, order"),
        ("review", {}, "needs an argument 'language'. A preset of the profile"),
        ("review", {"language": "de", "tune": "x"}, "no argument 'tune'. It takes language, tone."),
        ("plain", {"x": "y"}, "takes no argument 'x'. It takes none."),
    ],
)
def test_a_prompt_that_no_chat_can_take_is_refused(
    prompt: str, arguments: dict[str, str], words: str
) -> None:
    with pytest.raises(McpUnusable) as refused:
        get(prompt, arguments)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("prompt", "kind", "words"),
    [
        ("nonsense", McpProtocol, "The server's answer is none"),
        ("silent", McpUnreachable, "There was no answer within 0.3 s."),
        ("fatal", McpUnreachable, "It was gone before it answered"),
    ],
)
def test_a_server_that_misbehaves_costs_a_typed_error_and_nothing_else(
    prompt: str, kind: type[McpError], words: str
) -> None:
    async def body() -> None:
        async with hosting({"s": library(timeout="0.3s"), "t": library()}) as host:
            began = time.monotonic()
            with pytest.raises(kind) as failed:
                await host.get_prompt("s", prompt, {})
            assert words in str(failed.value)
            assert time.monotonic() - began < 5.0
            assert await host.read_resource("t", "note://a") == "It rains."
            assert await eventually_read(host, "s") == "It rains."

    run(body())


async def eventually_read(host: McpHost, server: str) -> Any:
    async with asyncio.timeout(10):
        while True:
            try:
                return await host.read_resource(server, "note://a")
            except McpUnreachable:
                await asyncio.sleep(0.05)


def test_one_that_stays_silent_is_started_again() -> None:
    async def body() -> None:
        async with hosting({"s": library(timeout="0.2s")}) as host:
            for _ in range(3):
                with pytest.raises(McpUnreachable):
                    await host.read_resource("s", "note://silent")
            await eventually(lambda: host.statuses()["s"].restarts == 1)

    run(body())


def test_a_resource_is_text_or_a_picture() -> None:
    assert read("note://a") == "It rains."
    assert read("note://encoded") == "It rains."
    assert read("note://two") == "first\nsecond"
    assert read("note://empty") == "The resource is empty."
    (part,) = read("note://picture")
    assert isinstance(part, ImagePart)


def test_of_a_long_resource_beginning_and_end_are_kept() -> None:
    text = read("note://long", library(max_output="1KiB"))
    assert text.startswith("begin") and text.endswith("end")
    assert len(text) <= 1024


def test_a_resource_that_no_chat_can_take_is_refused() -> None:
    with pytest.raises(McpUnusable, match="note://archive is no text and no image"):
        read("note://archive")
    with pytest.raises(McpProtocol, match="not base64"):
        read("note://broken")


def test_a_resource_of_so_many_parts_that_reading_them_would_hold_up_others_is_refused() -> None:
    with pytest.raises(McpProtocol, match="it has 70000 parts, and at most 4096"):
        read("note://many")


def test_a_resource_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(McpProtocol) as failed:
        read("note://b")
    assert "Resource not found" in failed.value.message
    assert "It lists note://a, note://two" in str(failed.value)


def test_a_server_without_prompts_says_so() -> None:
    with pytest.raises(McpProtocol, match="no method prompts/list"):
        get("plain", server=declare(prompts=True))


def test_nothing_is_started_before_somebody_has_agreed_to_it() -> None:
    async def body() -> None:
        consent = EverythingAgreed()
        consent.not_started["s"] = Fault("needs_approval", "Nobody has.", "Approve it.")
        async with hosting({"s": library()}, consent=consent) as host:
            for reading in (host.get_prompt("s", "plain", {}), host.read_resource("s", "note://a")):
                with pytest.raises(McpError, match=r"Nobody has\. Approve it\."):
                    await reading
            assert host.statuses()["s"].pid is None

    run(body())


@pytest.mark.parametrize("is_untrusted", [False, True])
def test_what_a_run_begins_with_counts_as_the_servers_tools_do(is_untrusted: bool) -> None:
    async def body() -> list[Opened]:
        config = library(untrusted=is_untrusted)
        async with hosting({"s": config}) as host:
            opening = Opening(PromptWish("mcp/s/plain"), (ResourceWish("mcp/s/note://a"),))
            sources = find_sources(opening, {"s": config}, host)  # type: ignore[arg-type]  # any host
            assert (await call(host, "s", "echo", text="x")).is_untrusted is is_untrusted
            return [await source.read() for source in sources]

    prompt, resource = run(body())
    assert (prompt.is_untrusted, resource.is_untrusted) == (is_untrusted, is_untrusted)
    assert len(prompt.prompt) == 2
    assert [(it.reference, it.content) for it in resource.context] == [
        ("mcp/s/note://a", "It rains.")
    ]


def policies(config: McpServerConfig, *, is_asked: bool) -> list[str]:
    opening = Opening(PromptWish("mcp/s/plain"), (ResourceWish("mcp/s/note://a", is_asked),))
    sources = find_sources(opening, {"s": config}, None)  # type: ignore[arg-type]  # nothing is read
    return [source.spec.policy for source in sources]


def test_who_declares_a_resource_agrees_to_it_and_who_asks_for_one_is_asked() -> None:
    assert policies(library(), is_asked=False) == ["allow", "allow"]
    assert policies(library(), is_asked=True) == ["allow", "ask"]
    assert policies(library(policy="allow"), is_asked=True) == ["allow", "allow"]
    assert policies(library(policy="deny"), is_asked=False) == ["deny", "deny"]
    own = library(tools={"policy": {"read_resource": "deny"}})
    assert policies(own, is_asked=False) == ["allow", "deny"]


def test_rules_tell_prompts_and_resources_by_their_names() -> None:
    opening = Opening(
        PromptWish("mcp/s/review", {"language": "de"}), (ResourceWish("mcp/s/note://a"),)
    )
    sources = find_sources(opening, {"s": library()}, None)  # type: ignore[arg-type]  # nothing is read
    assert [(it.spec.path, it.arguments) for it in sources] == [
        ("mcp/s/get_prompt", {"name": "review", "arguments": {"language": "de"}}),
        ("mcp/s/read_resource", {"uri": "note://a"}),
    ]
    for place, (tool, arguments) in enumerate(
        [("get_prompt", {"name": "review"}), ("read_resource", {"uri": "note://.*"})]
    ):
        rule = {"tools": [f"mcp/s/{tool}"], "arguments": arguments, "decision": "deny"}
        policy = PolicyConfig.model_validate({"rules": [rule]})
        wishes = [Wish("w", it.spec, it.arguments, Caller("act")) for it in sources]
        assert [decide(it, policy).decision == "deny" for it in wishes] == [place == 0, place == 1]


def test_an_error_says_what_was_to_be_read() -> None:
    async def body() -> None:
        config = library()
        async with hosting({"s": config}) as host:
            opening = Opening(PromptWish("mcp/s/revue"), (ResourceWish("mcp/s/note://b"),))
            sources = find_sources(opening, {"s": config}, host)  # type: ignore[arg-type]  # any host
            with pytest.raises(McpUnusable, match=r"^mcp/s/revue: The server has no such prompt"):
                await sources[0].read()
            with pytest.raises(McpProtocol, match=r"^mcp/s/note://b: .*Resource not found"):
                await sources[1].read()

    run(body())
    refused = OutboundFailed("No such host.", reason="unreachable", hint="Is it up?")
    named = renamed(refused, "mcp/s/x: No such host.")
    assert (named.reason, str(named)) == ("unreachable", "mcp/s/x: No such host. Is it up?")
    assert refused.message == "No such host."
    with pytest.raises(McpNotFound, match="mcp/x/plain: the profile declares no MCP server 'x'"):
        find_sources(Opening(PromptWish("mcp/x/plain")), {}, None)  # type: ignore[arg-type]
