"""What keeps tools from being used, in one line each."""

from __future__ import annotations

import pytest

from lmrun.tools.mcp.consent import Fault, FaultKind
from lmrun.tools.mcp.status import ServerStatus, State, ToolStatus
from lmrun.tools.troubles import Trouble, find_troubles


def tell(*servers: ServerStatus, **faults: str) -> list[tuple[str, str, str]]:
    found = find_troubles(faults, servers)
    return [(it.subject, it.reason, it.message) for it in found]


def faulty(*tools: tuple[str, FaultKind]) -> ServerStatus:
    listed = (ToolStatus(name, fault=Fault(kind, "It is.")) for name, kind in tools)
    return ServerStatus("s", "ready", tools=(ToolStatus("good", name="s__good"), *listed))


def test_where_all_is_well_nothing_is_said() -> None:
    states: tuple[State, ...] = ("stopped", "starting", "ready")
    assert tell(*(ServerStatus("s", state) for state in states), faulty()) == []


def test_a_tool_that_is_not_there_says_why_and_that_it_is_tried_again() -> None:
    again = "Once that is mended, it is tried again by itself."
    assert tell(b="tools.py:3: NameError: name 'x' is not defined", a="There is no a.") == [
        ("tools.a", "ToolInvalid", f"There is no a. {again}"),
        ("tools.b", "ToolInvalid", f"tools.py:3: NameError: name 'x' is not defined. {again}"),
    ]


@pytest.mark.parametrize(
    ("state", "reason", "then"),
    [
        ("needs_approval", "NeedsApproval", "It broke."),
        ("failed", "ServerFailed", "It broke. It is started again when it is needed."),
        ("backing_off", "ServerFailed", "It broke. It is started again by itself."),
    ],
)
def test_a_server_that_is_not_there_says_why(state: State, reason: str, then: str) -> None:
    found = tell(ServerStatus("s", state, error="It broke."))
    assert found == [("mcp_servers.s", reason, then)]
    ((_, _, unexplained),) = tell(ServerStatus("s", state))
    assert unexplained


def test_tools_of_a_server_are_named_by_what_is_to_be_done_about_them() -> None:
    approve = "`lmrun mcp approve s` shows them, and asks."
    some = "n0, n1, n2, n3, n4 and 2 more"
    new = [(f"n{number}", "needs_approval") for number in range(7)]
    server = faulty(*new, ("d", "drift"), ("m", "missing"), ("x", "schema"))  # type: ignore[arg-type]
    assert tell(server) == [
        (
            "mcp_servers.s",
            "NeedsApproval",
            f"Not approved: {some}. {approve}",
        ),
        ("mcp_servers.s", "ToolDrift", f"Changed since they were approved: d. {approve}"),
        ("mcp_servers.s", "ToolUnusable", "Cannot be offered: m, x. `lmrun mcp list` says why."),
    ]


def test_whatever_others_say_is_one_bounded_line() -> None:
    nasty = "a\nb\x1b[2J\u202ec" * 10_000
    tool = ToolStatus(nasty, fault=Fault("drift", "It is."))
    servers = (ServerStatus("s", "failed", error=nasty), ServerStatus("t", "ready", tools=(tool,)))
    found: list[Trouble] = list(find_troubles({"k": nasty}, servers))
    assert len(found) == 3
    for it in found:
        assert len(it.message) <= 1000
        assert it.message.isprintable() and "\u202e" not in it.message
    assert "`lmrun mcp approve t`" in found[2].message
