"""What a status looks like."""

from __future__ import annotations

import msgspec

from lmrun.cli.commands.statuses import render_status, render_usage
from lmrun.cli.terminal import _ANSI
from lmrun.engines.base import EngineUsage
from lmrun.reconcile.status import (
    AgentStatus,
    DriftStatus,
    GitStatus,
    MemoryStatus,
    ProfileStatus,
    Status,
    ToolsStatus,
    ToolTrouble,
)
from tests.support.control import SINCE, condition, instance, model, status


def show(found: Status) -> list[str]:
    return _ANSI.sub("", render_status(found)).splitlines()


def test_a_converged_server_shows_its_address_and_its_instances_and_no_complaint() -> None:
    assert show(status(model("smollm2", instance()), address="http://127.0.0.1:1234")) == [
        "server      http://127.0.0.1:1234 (pid 4242)",
        "profile     /profiles/p.yaml",
        "generation  3, converged",
        "",
        "IDENTIFIER  MODEL    STATE  REASON  CONTEXT  ACTIVE  WAITING  RESTARTS",
        "assistant   smollm2  ready  Ready   2048     0       0        0",
    ]


def test_what_is_not_true_is_said_with_its_reason_and_message() -> None:
    failed = model(
        "big",
        instance("big", "failed", context_length=None),
        conditions=(
            condition("Available"),
            condition("Ready", "False", "LoadFailed", "not enough memory\nfree some"),
        ),
    )

    lines = show(status(failed, conditions=(condition("Converged", "False", "Progressing"),)))

    assert lines[-3:] == [
        "! Converged is False (Progressing)",
        "! big: Ready is False (LoadFailed): not enough memory",
        "    free some",
    ]
    assert lines[5].split() == ["big", "big", "failed", "LoadFailed", "-", "0", "0", "0"]


def test_a_generation_that_has_converged_once_is_not_called_converged_when_it_is_not() -> None:
    broken = condition("Converged", "False", "InstanceNotReady", "m")

    assert show(status(conditions=(broken,)))[2] == "generation  3, not converged any more"


def test_a_generation_that_is_under_way_names_the_last_one_that_converged() -> None:
    under_way = ProfileStatus(("/p.yaml",), generation=5, observed_generation=4, watching=True)

    lines = show(status(profile=under_way))

    assert lines[1:] == ["profile     /p.yaml, watched", "generation  5, not converged (last: 4)"]


def test_a_loading_instance_shows_how_far_it_is() -> None:
    lines = show(status(model("m", instance("m", "loading", progress=0.426))))

    assert "loading 43%" in lines[-1]


def test_an_absent_model_is_listed_and_not_complained_about() -> None:
    unready = (condition("Available"), condition("Ready", "False", "Absent"))

    lines = show(status(model("m", state="absent", conditions=unready)))

    assert lines[-1].split() == ["-", "m", "absent", "Absent", "-", "-", "-", "-"]


def test_a_server_without_a_profile_says_so() -> None:
    assert show(status(profile=None)) == [
        "server   not listening (pid 4242)",
        "profile  none applied",
    ]


def test_what_an_instance_holds_is_one_line() -> None:
    usage = EngineUsage(
        kv_tokens=16_384,
        kv_tokens_used=120,
        prefix_cache_bytes=12_000_000,
        prefix_cache_limit=2**30,
        prefix_cache_entries=3,
        prefilled_tokens=300,
        cached_tokens=1200,
        generated_tokens=45,
        drafted_tokens=10,
        accepted_tokens=7,
    )
    memory = MemoryStatus(200_000_000, 110_000_000, 100_000_000, 0.05)
    found = model("m", instance(usage=usage, memory=memory))
    assert show(status(found))[-1] == (
        "assistant: 210 MB of memory (+5% against the estimate); KV 120 of 16384 tokens; "
        "3 parked prefixes, 12 MB of 1.07 GB; 300 prefilled, 1200 cached, 45 generated tokens; "
        "7 of 10 guesses accepted"
    )


def test_an_estimate_that_was_nearly_right_is_off_by_no_minus_zero() -> None:
    memory = MemoryStatus(200_000_000, 110_000_000, 100_000_000, -0.001)
    assert render_usage(instance(memory=memory)).endswith("(+0% against the estimate)")


def test_an_instance_of_which_nothing_is_known_has_no_line() -> None:
    assert render_usage(instance("big", "loading")) == ""


def test_the_file_that_the_log_goes_to_is_named() -> None:
    found = status()
    logged = msgspec.structs.replace(found.server, log="/home/logs/server.log")
    lines = show(msgspec.structs.replace(found, server=logged))
    assert "log         /home/logs/server.log" in lines
    assert not any(line.startswith("log") for line in show(found))


def test_what_was_changed_by_hand_is_shown_field_by_field() -> None:
    profile = ProfileStatus(("/p.yaml",), 3, 3, watching=False, drift_policy="adopt")
    drift = (
        DriftStatus(
            "models.m.load.context_length",
            "m",
            "cli:ada",
            "2026-11-25T10:00:00+00:00",
            None,
            "256",
            "it is a reference",
        ),
        DriftStatus(
            "models.n.state", "n", "api:ci", "2026-11-25T10:00:00+00:00", "loaded", "absent"
        ),
    )
    lines = show(status(model("m", instance("m")), profile=profile, drift=drift))
    start = lines.index("Changed by hand (drift: adopt)")
    assert lines[start + 1].split() == [
        "FIELD",
        "INSTANCE",
        "OWNER",
        "DESIRED",
        "OBSERVED",
        "SINCE",
    ]
    assert lines[start + 2].split()[:5] == [
        "models.m.load.context_length",
        "m",
        "cli:ada",
        "(unset)",
        "256",
    ]
    assert lines[start + 3] == "    ! not adopted: it is a reference"
    assert lines[start + 4].split()[:5] == ["models.n.state", "n", "api:ci", "loaded", "absent"]


def test_a_followed_repository_is_shown_with_its_commit_and_what_is_behind() -> None:
    git = GitStatus("https://h/p.git", "main", "p.yaml", "a" * 40, "a" * 40, "a" * 40, SINCE, False)
    behind = msgspec.structs.replace(git, head="b" * 40, is_behind=True)
    fresh = GitStatus("https://h/p.git", "main", "p.yaml")
    shown = [
        next(line for line in show(status(git=it)) if line.startswith("git"))
        for it in (git, behind, fresh)
    ]
    assert shown == [
        f"git         https://h/p.git main p.yaml: commit {'a' * 12}",
        f"git         https://h/p.git main p.yaml: commit {'a' * 12}, behind {'b' * 12}",
        "git         https://h/p.git main p.yaml: no commit yet",
    ]


def test_agents_and_tools_are_counted_and_what_is_wrong_with_them_is_a_line_each() -> None:
    agents = (AgentStatus("helper", "assistant", ("*",)), AgentStatus("other\x1b", "b", ()))
    troubles = (
        ToolTrouble("tools.shout", "ToolInvalid", "tools.py:3: NameError."),
        ToolTrouble("mcp_servers.time", "NeedsApproval", "`lmrun mcp approve time` asks."),
    )
    message = "\n".join(f"{it.subject}: {it.message}" for it in troubles)
    tools = ToolsStatus(agents, 7, 1, 2, troubles)
    wrong = condition("Tools", "False", "ToolInvalid", message)

    lines = show(status(tools=tools, conditions=(condition("Converged"), wrong)))

    assert lines[3:] == [
        "agents      helper, other",
        "tools       7, 1 missing, 2 MCP servers",
        "",
        "! Tools is False (ToolInvalid): tools.shout: tools.py:3: NameError.",
        "    mcp_servers.time: `lmrun mcp approve time` asks.",
    ]


def test_what_a_profile_says_of_an_agent_stands_beside_its_name() -> None:
    agents = (
        AgentStatus("helper", "assistant", ("*",), "Calculates,\nwith \x1btools."),
        AgentStatus("other", "b", ()),
        AgentStatus("third", "b", (), "long " * 400),
    )

    lines = show(status(tools=ToolsStatus(agents, 7, 0, 0, ())))[3:]

    assert lines[:2] == ["agents      helper: Calculates, with tools.", "            other"]
    assert lines[2].startswith("            third: long long") and lines[2].endswith("…")
    assert len(lines[2]) < 120


def test_tools_without_agents_and_servers_are_a_number() -> None:
    assert show(status(tools=ToolsStatus((), 1, 0, 0, ())))[3:] == ["tools       1"]
