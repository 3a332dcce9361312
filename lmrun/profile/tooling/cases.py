"""Cases for a policy: what calls it must allow, ask about and deny. It knows no rule.

A file of them is strict YAML like a profile, with positions; `${…}` has no meaning in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from lmrun.errors import Problem
from lmrun.profile.checks import Finding, suggest
from lmrun.profile.problems import find_faults, place, to_problems
from lmrun.profile.schema import Profile
from lmrun.profile.shape import shape_of
from lmrun.profile.text import nodes
from lmrun.profile.text.files import ReadText, Unreadable, explain, read_text
from lmrun.profile.text.strict_yaml import parse_yaml
from lmrun.profile.tooling.policy import Decision
from lmrun.settings.base import Settings

MAX_CASES = 5000

Name = Annotated[str, Field(min_length=1, max_length=512)]


class PolicyCase(Settings):
    """A call, and what must become of it."""

    tool: Name = Field(description="The tool, like `add` or `mcp/time/get_current_time`.")
    arguments: dict[str, Any] = Field(default_factory=dict, description="What it is called with.")
    key: Name | None = Field(None, description="The name of the API key. Default: none.")
    model: Name | None = Field(
        None, description="The model that calls. Default: that of `agent`, if there is one."
    )
    agent: Name | None = Field(None, description="The agent that calls. Default: none.")
    tainted: bool = Field(False, description="The run has read content from elsewhere.")
    expect: Decision = Field(description="`allow`, `ask` or `deny`.")


class PolicyCases(Settings):
    """A file of cases."""

    cases: Annotated[
        tuple[PolicyCase, ...], Field(min_length=1, max_length=MAX_CASES, strict=False)
    ] = Field(description="calls, each with what must become of it.")


@dataclass(frozen=True, slots=True)
class PlacedCase:
    """`line`: where it begins, counted from 1."""

    case: PolicyCase
    line: int


def read_cases(
    path: Path, profile: Profile, read: ReadText = read_text
) -> tuple[tuple[PlacedCase, ...], tuple[Problem, ...]]:
    """The cases, or everything that is wrong with them: also tools, keys, models and agents that
    the profile does not have, with which a case would test nothing."""
    try:
        text = read(path)
    except (OSError, Unreadable) as error:
        line, column = getattr(error, "line", 0), getattr(error, "column", 0)
        return (), (Problem(str(path), line, column, "", explain(error)),)
    parsed = parse_yaml(text, str(path), "it needs `cases: [{tool: …, expect: …}]`")
    if parsed.root is None or parsed.problems:
        return (), parsed.problems
    try:
        cases = PolicyCases.model_validate(_to_data(parsed.root)).cases
    except ValidationError as error:
        faults = find_faults(error, parsed.root)
        return (), tuple(to_problems(faults, shape_of(PolicyCases)))
    problems = tuple(place(finding, parsed.root) for finding in _find_unknown(cases, profile))
    if problems:
        return (), problems
    listed = parsed.root.entries["cases"].node
    assert isinstance(listed, nodes.Sequence), "validated"
    lines = [item.position.line for item in listed.items]
    return tuple(map(PlacedCase, cases, lines)), ()


def _find_unknown(cases: Sequence[PolicyCase], profile: Profile) -> Iterator[Finding]:
    """Names that the profile does not have."""
    known = (
        ("key", [key.name for key in profile.server.api_keys], "no API key has this name"),
        ("model", _list_models(profile), "no model has this key or identifier"),
        ("agent", list(profile.agents), "no agent has this name"),
    )
    for index, case in enumerate(cases):
        fault = _find_tool_fault(case.tool, profile)
        if fault is not None:
            yield Finding(("cases", index, "tool"), fault)
        for field, names, words in known:
            name = getattr(case, field)
            if name is not None and name not in names:
                yield Finding(("cases", index, field), f"{words}{_suggest(name, names)}")


def _list_models(profile: Profile) -> list[str]:
    """Every name by which a request finds a model."""
    names = list(profile.models)
    for model in profile.models.values():
        names += [it.identifier for it in model.instances]
        names += [model.identifier] if model.identifier is not None else []
    return names


def _suggest(name: str, names: Collection[str]) -> str:
    return suggest(name, list(names)) or "; the profile has none"


def _find_tool_fault(path: str, profile: Profile) -> str | None:
    prefix, _, rest = path.partition("/")
    if not rest:
        if path in profile.tools:
            return None
        return f"no tool has this name{_suggest(path, profile.tools)}"
    server, _, tool = rest.partition("/")
    if prefix != "mcp" or not server or not tool:
        return "must be a tool like `add` or `mcp/time/get_current_time`"
    if server in profile.mcp_servers:
        return None
    return f"no MCP server has this name{_suggest(server, profile.mcp_servers)}"


def _to_data(node: nodes.Node) -> Any:
    if isinstance(node, nodes.Mapping):
        return {key: _to_data(entry.node) for key, entry in node.entries.items()}
    if isinstance(node, nodes.Sequence):
        return [_to_data(item) for item in node.items]
    return node.value
