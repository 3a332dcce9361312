"""Tools that a request names, and that the profile could never offer."""

from __future__ import annotations

import pytest

from lmrun.chat.messages import Message
from lmrun.errors import InvalidParameter
from lmrun.profile.schema import Profile
from lmrun.tools.act.assignment import assign
from lmrun.tools.act.requests import ActRequest

PROFILE = Profile.model_validate(
    {
        "version": 1,
        "models": {"m": {"source": "file:./m.gguf"}},
        "mcp_servers": {
            "time": {
                "command": ["time"],
                "tools": {"allow": ["get_*", "now"], "deny": ["get_secret"]},
                "resources": True,
            },
            "bare": {"command": ["bare"]},
        },
    }
)


def ask(*tools: str) -> tuple[str, ...]:
    return assign(ActRequest((Message("user", "hi"),), model="m", tools=tools), PROFILE).tools


def test_what_the_profile_may_offer_is_taken() -> None:
    tools = ("mcp/time/now", "mcp/time/get_x", "mcp/time/*", "mcp/*/x", "mcp/time/read_resource")
    assert ask(*tools) == tools


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("mcp/time/nwo", "no tool 'nwo' of the MCP server 'time'. Declared: now, get_*."),
        ("mcp/time/get_secret", "no tool 'get_secret'"),
        ("mcp/bare/x", "It offers none: `mcp_servers.bare.tools.allow` names them."),
        ("mcp/bare/read_resource", "no tool 'read_resource'"),
    ],
)
def test_what_it_cannot_offer_is_refused_by_name(tool: str, words: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        ask("mcp/time/now", tool)
    assert refused.value.param == "tools[1]"
    assert words in str(refused.value)
