"""What is offered of the tools that servers list, and as what."""

from __future__ import annotations

import pytest

from lmrun.tools.mcp.consent import Fault
from lmrun.tools.mcp.host import McpHost
from tests.tools.mcp.support import (
    EverythingAgreed,
    call,
    declare,
    eventually,
    find,
    hosting,
    run,
)


def _faults(host: McpHost, server: str = "s") -> dict[str, str]:
    return {
        it.tool: it.fault.message for it in host.statuses()[server].tools if it.fault is not None
    }


def test_only_what_the_profile_allows_is_offered() -> None:
    async def body() -> None:
        servers = {
            "none": declare(tools={}),
            "one": declare(tools={"allow": ["echo"]}),
            "not_one": declare(tools={"allow": ["*"], "deny": ["po*"]}),
        }
        async with hosting(servers) as host:
            offered = {name: [it.spec.path for it in await host.tools(name)] for name in servers}

            assert offered == {
                "none": [],
                "one": ["mcp/one/echo"],
                "not_one": ["mcp/not_one/echo", "mcp/not_one/seen"],
            }
            assert host.statuses()["none"].state == "stopped"

    run(body())


def test_what_the_profile_says_of_a_tool_is_in_its_spec() -> None:
    async def body() -> None:
        tools = {
            "allow": ["echo", "poke"],
            "policy": {"poke": "deny"},
            "effects": {"echo": []},
            "idempotent": ["echo"],
        }
        config = declare(tools=tools, policy="allow", untrusted=False, timeout="7s")
        async with hosting({"s": config}) as host:
            echo, poke = [it.spec for it in await host.tools("s")]

            assert (echo.name, echo.description) == ("s__echo", "Says it again.")
            assert echo.parameters["required"] == ["text"]
            assert (echo.policy, echo.effects, echo.is_idempotent) == ("allow", frozenset(), True)
            assert (echo.is_untrusted, echo.timeout_s) == (False, 7.0)
            assert (poke.policy, poke.effects) == ("deny", frozenset({"write", "network"}))

    run(body())


def test_nothing_that_may_do_harm_is_allowed_by_a_pattern_alone() -> None:
    async def body() -> None:
        tools = {"allow": ["*", "poke"], "effects": {"echo": []}}
        async with hosting({"s": declare(tools=tools, policy="allow")}) as host:
            policies = {it.spec.path: it.spec.policy for it in await host.tools("s")}

            assert policies == {"mcp/s/echo": "allow", "mcp/s/poke": "allow", "mcp/s/seen": "ask"}

    run(body())


def test_a_tool_that_the_profile_names_and_the_server_has_not_is_a_fault() -> None:
    async def body() -> None:
        tools = {"allow": ["echo", "eco*"], "policy": {"pock": "allow"}}
        async with hosting({"s": declare(tools=tools)}) as host:
            await host.tools("s")

            assert _faults(host) == {"pock": "The server has no such tool."}

    run(body())


def test_of_tools_that_would_be_called_the_same_only_the_first_is_offered() -> None:
    async def body() -> None:
        async with hosting({"s": declare("confusing_names")}) as host:
            names = [it.spec.name for it in await host.tools("s")]

            assert names == ["s__echo", "s__poke", "s__a_b", "s__" + "x" * 61]
            assert _faults(host) == {
                "a_b": "Towards models it is called s__a_b, as mcp/s/a.b.",
                "echo": "Towards models it is called s__echo, as mcp/s/echo.",
                "a b/c": "Its name has characters that a tool's path cannot have.",
                "x" * 80 + "2": f"Towards models it is called {names[3]}, as mcp/s/{'x' * 80}1.",
            }

    run(body())


def test_a_model_reads_nothing_that_a_person_does_not_see() -> None:
    async def body() -> None:
        async with hosting({"s": declare("hidden_characters")}) as host:
            (poke,) = await host.tools("s")

            assert poke.spec.description == "Pokes. Nothing else.[8m"
            assert poke.spec.parameters["properties"]["a"]["description"] == "An a."
            assert list(_faults(host)) == ["sly"]

    run(body())


def test_what_is_too_long_is_left_out() -> None:
    async def body() -> None:
        async with hosting({"s": declare("too_much_to_say")}) as host:
            assert [it.spec.path for it in await host.tools("s")] == ["mcp/s/poke"]
            assert _faults(host) == {
                "talks": "Its description is longer than 16384 bytes.",
                "asks": "Its schema is longer than 65536 bytes.",
            }

    run(body())


def test_a_tool_that_is_none_is_no_matter_to_the_others() -> None:
    async def body() -> None:
        async with hosting({"s": declare("odd_tools")}) as host:
            offered = [it.spec.path.rpartition("/")[2] for it in await host.tools("s")]

            assert offered == ["echo", "poke", "plain", "promises"]
            assert (await call(host, "s", "plain")).error is None
            assert set(_faults(host)) == {"array", "described", "nothing", "?"}

    run(body())


def test_a_tool_that_changes_in_silence_is_noticed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        async with hosting({"s": declare("changes_in_silence")}) as host:
            known = await find(host, "s", "poke")
            await known.call({}, lambda progress: None)
            monkeypatch.setattr("lmrun.tools.mcp.server.LISTING_MAX_AGE_S", 0.0)

            assert (await known.call({}, lambda progress: None)).error == "disabled"

    run(body())


def test_of_ten_thousand_tools_some_are_taken() -> None:
    async def body() -> None:
        async with hosting({"s": declare("huge_tools_list")}) as host:
            assert len(await host.tools("s")) == 256
            assert list(_faults(host)) == ["*"]

    run(body())


def test_all_pages_of_a_list_are_read() -> None:
    async def body() -> None:
        async with hosting({"s": declare("pages")}) as host:
            assert len(await host.tools("s")) == 2

    run(body())


@pytest.mark.parametrize(
    ("behaviour", "now"),
    [("schema_change", ["echo", "poke"]), ("tool_renamed", ["echo", "prod"])],
)
def test_a_tool_that_changes_is_not_called_as_what_it_was(behaviour: str, now: list[str]) -> None:
    async def body() -> None:
        async with hosting({"s": declare(behaviour)}) as host:
            known = await find(host, "s", "poke")
            first = await known.call({}, lambda progress: None)
            await eventually(lambda: _is_listed_anew(host, known.spec.description, now))
            second = await known.call({}, lambda progress: None)

            assert first.error is None
            assert second.error == "disabled"
            offered = [it.spec.path.rpartition("/")[2] for it in await host.tools("s")]
            assert offered == now

    run(body())


def _is_listed_anew(host: McpHost, description: str | None, now: list[str]) -> bool:
    return [it.tool for it in host.statuses()["s"].tools if it.fault is None] == now


def test_a_tool_that_nobody_agreed_to_is_neither_offered_nor_called() -> None:
    async def body() -> None:
        consent = EverythingAgreed()
        async with hosting({"s": declare()}, consent=consent) as host:
            poke = await find(host, "s", "poke")
            consent.not_used["poke"] = Fault("drift", "It is not what was approved.", diff="- a")
            result = await poke.call({}, lambda progress: None)

            assert (result.error, result.text) == ("disabled", "It is not what was approved.")
            assert [it.spec.path for it in await host.tools("s")] == ["mcp/s/echo", "mcp/s/seen"]
            assert _faults(host) == {"poke": "It is not what was approved."}

    run(body())


def test_nothing_is_started_before_somebody_agreed() -> None:
    async def body() -> None:
        consent = EverythingAgreed()
        consent.not_started["s"] = Fault("needs_approval", "It is new.", hint="Approve it.")
        async with hosting({"s": declare()}, consent=consent) as host:
            assert list(await host.tools("s")) == []
            status = host.statuses()["s"]
            assert (status.state, status.error) == ("needs_approval", "It is new. Approve it.")
            assert (status.pid, status.restarts) == (None, 0)

            del consent.not_started["s"]
            assert (await call(host, "s", "echo", text="now")).text == "now"

            consent.not_started["s"] = Fault("needs_approval", "It has changed.")
            host.recheck("s")
            await eventually(lambda: host.statuses()["s"].state == "needs_approval")
            assert host.statuses()["s"].pid is None

    run(body())
