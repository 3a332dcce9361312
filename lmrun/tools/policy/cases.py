"""What a profile's policy says about the calls of a file of cases. Pure; it starts no tool."""

from __future__ import annotations

from dataclasses import dataclass

from lmrun.profile.loader import LoadedProfile
from lmrun.profile.schema import Profile
from lmrun.profile.tooling.cases import PlacedCase, PolicyCase
from lmrun.profile.tooling.effective import (
    PROMPT_TOOL,
    effects_of,
    is_offered,
    mcp_effects_of,
    mcp_policy_of,
    prompt_policy_of,
)
from lmrun.profile.tooling.naming import matches, mcp_name
from lmrun.tools.policy.applied import AppliedPolicy, make_policy
from lmrun.tools.policy.gate import Wish
from lmrun.tools.policy.rules import Ruling, decide
from lmrun.tools.tool import Caller, ToolSpec


@dataclass(frozen=True, slots=True)
class JudgedCase:
    """`ruling`: what the policy really says."""

    placed: PlacedCase
    ruling: Ruling

    @property
    def has_passed(self) -> bool:
        return self.ruling.decision == self.placed.case.expect


def judge_cases(cases: tuple[PlacedCase, ...], loaded: LoadedProfile) -> list[JudgedCase]:
    """One for each, in their order."""
    policy = make_policy(loaded)
    return [JudgedCase(it, _judge(it.case, loaded.profile, policy)) for it in cases]


def _judge(case: PolicyCase, profile: Profile, policy: AppliedPolicy) -> Ruling:
    agent = profile.agents[case.agent] if case.agent is not None else None
    if agent is not None and not any(matches(it, case.tool) for it in agent.tools):
        return Ruling("deny", f"the agent {case.agent} is not given this tool")
    spec = _find_spec(case.tool, profile)
    if spec is None:
        return Ruling("deny", "`tools` of its server does not offer it")
    model = case.model or (agent.model if agent is not None else None)
    caller = Caller("cli", key=case.key, model=model, agent=case.agent)
    return decide(Wish("case", spec, case.arguments, caller, case.tainted), policy.config)


def _find_spec(path: str, profile: Profile) -> ToolSpec | None:
    """The tool as far as a policy knows it; None for one that an MCP server may not offer."""
    if path in profile.tools:
        config = profile.tools[path]
        return ToolSpec(path, path, None, {}, config.policy, effects_of(config))
    _, server, tool = path.split("/", 2)
    declared = profile.mcp_servers[server]
    if not is_offered(declared, tool):
        if tool == PROMPT_TOOL and declared.prompts:
            name = mcp_name(server, tool)
            return ToolSpec(path, name, None, {}, prompt_policy_of(declared), frozenset())
        return None
    policy, effects = mcp_policy_of(declared, tool), mcp_effects_of(declared, tool)
    return ToolSpec(path, mcp_name(server, tool), None, {}, policy, effects)
