"""What a request for a run comes to under a profile: which model, with what, and how far. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from math import isfinite
from re import fullmatch
from typing import Any

import msgspec
from pydantic import ValidationError

from lmrun.chat.messages import Message
from lmrun.errors import InvalidParameter, ModelNotFound
from lmrun.profile.presets import Preset, find_preset
from lmrun.profile.schema import Profile
from lmrun.profile.tooling.agents import AgentConfig
from lmrun.profile.tooling.effective import RESOURCE_TOOL, is_allowed
from lmrun.profile.tooling.naming import TOOL_PATTERN_PATTERN, matches
from lmrun.profile.tooling.references import (
    MAX_CONTEXT,
    MAX_REFERENCE,
    is_prompt,
    is_resource,
    split_reference,
)
from lmrun.settings.prediction import PredictionConfig
from lmrun.tools.act.limits import Limits
from lmrun.tools.act.opening import Opening, make_opening
from lmrun.tools.act.requests import ActRequest, LimitsChoice

MAX_SUGGESTED = 3

_OF_AGENT = frozenset({"max_rounds", "parallel_calls"})
"""Limits that an agent of the profile has itself; the others are in its `budgets`."""


class Assignment(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run needs, whatever becomes of the profile: `model` is a key or an identifier,
    `tools` are patterns, `prediction` is a PredictionConfig as JSON, `opening` is read before the
    first round."""

    model: str
    agent: str | None
    tools: tuple[str, ...]
    limits: Limits
    prediction: bytes
    messages: tuple[Message, ...]
    opening: Opening = Opening()


def assign(request: ActRequest, profile: Profile | None) -> Assignment:
    """`request` under `profile`; None: nothing is applied. Raises InvalidParameter, and
    ModelNotFound for an agent that it does not declare."""
    if not request.messages:
        raise InvalidParameter("A run needs messages.", param="messages")
    agents: Mapping[str, AgentConfig] = profile.agents if profile is not None else {}
    name = request.agent if request.agent is not None else request.model
    if name is None or (request.agent is not None and request.model is not None):
        raise InvalidParameter("A run needs either a `model` or an `agent`.", param="model")
    if request.agent is not None and name not in agents:
        raise ModelNotFound(
            f"There is no agent {name[:80]!r}.", param="agent", hint=_suggest(name, agents)
        )
    _require_context(request.context, profile)
    if name in agents and profile is not None:
        return _assign_agent(request, name, profile)
    limits = _limit(request.limits, Limits())
    for place, pattern in enumerate(request.tools):
        _require_tool(pattern, f"tools[{place}]", profile)
    preset = _choose_preset(request.preset, profile)
    return Assignment(
        model=name,
        agent=None,
        tools=request.tools,
        limits=limits,
        prediction=_dump(preset.prediction.overlay(parse_prediction(request.prediction))),
        messages=_with_system_prompt(request.messages, preset.system_prompt),
        opening=make_opening(preset, (), request.context),
    )


def parse_prediction(given: Mapping[str, Any]) -> PredictionConfig:
    """Only what is given is chosen. Raises InvalidParameter for the first that is wrong."""
    try:
        # As JSON, in which a list is what a client has for a tuple.
        return PredictionConfig.model_validate_json(msgspec.json.encode(given))
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        param = ".".join(["prediction", *map(str, detail["loc"])])
        raise InvalidParameter(f"`{param}`: {_explain(detail['msg'])}.", param=param) from None


def load_prediction(stored: bytes) -> PredictionConfig:
    """That of an assignment."""
    return PredictionConfig.model_validate_json(stored)


def _assign_agent(request: ActRequest, name: str, profile: Profile) -> Assignment:
    agent = profile.agents[name]
    if request.tools:
        raise InvalidParameter(
            f"The agent {name!r} has tools of its own; a request names none.",
            param="tools",
            hint=f"Leave `tools` out, or ask its model, {agent.model!r}.",
        )
    if request.preset is not None:
        raise InvalidParameter(
            f"The agent {name!r} is asked with the preset that the profile gives it; a request "
            "names none.",
            param="preset",
            hint=f"Leave `preset` out, or ask its model, {agent.model!r}.",
        )
    preset = _choose_preset(agent.preset, profile)
    own = Limits.from_agent(agent)
    limits = _limit(request.limits, own)
    for limit, chosen in asdict(limits).items():
        most = getattr(own, limit)
        if most is not None and chosen > most:
            raise InvalidParameter(
                f"`limits.{limit}`: the agent {name!r} has {most:g} at most.",
                param=f"limits.{limit}",
                hint="Ask for less, or raise it in the profile.",
            )
    prediction = preset.prediction.overlay(parse_prediction(request.prediction))
    return Assignment(
        model=agent.model,
        agent=name,
        tools=agent.tools,
        limits=limits,
        prediction=_dump(prediction),
        messages=_with_system_prompt(request.messages, preset.system_prompt),
        opening=make_opening(preset, agent.context, request.context),
    )


def _choose_preset(name: str | None, profile: Profile | None) -> Preset:
    """Raises InvalidParameter for one that cannot be had."""
    presets = profile.presets if profile is not None else {}
    preset = find_preset(presets, name)
    if preset is None:
        shown = str(name)[:80]
        raise InvalidParameter(
            f"`preset`: the profile has no preset {shown!r}.",
            param="preset",
            hint=_suggest(shown, presets),
        )
    if name is not None and is_prompt(name):
        _require_server(name, "prompts", "preset", profile)
    return preset


def _require_context(context: tuple[str, ...], profile: Profile | None) -> None:
    """Raises InvalidParameter for what no declared server has to give."""
    if len(context) > MAX_CONTEXT:
        raise InvalidParameter(
            f"`context`: it names {len(context)} resources; at most {MAX_CONTEXT} are read.",
            param="context",
        )
    for place, reference in enumerate(context):
        param = f"context[{place}]"
        if len(reference) > MAX_REFERENCE or not is_resource(reference):
            raise InvalidParameter(
                f"`{param}`: {reference[:80]!r} is no resource of an MCP server.",
                param=param,
                hint="Resources are called like `mcp/docs/file:///a.txt`.",
            )
        _require_server(reference, "resources", param, profile)


def _require_server(reference: str, feature: str, param: str, profile: Profile | None) -> None:
    server, _ = split_reference(reference)
    servers = profile.mcp_servers if profile is not None else {}
    if server not in servers:
        raise InvalidParameter(
            f"`{param}`: the profile declares no MCP server {server[:80]!r}.",
            param=param,
            hint=_suggest(server, servers),
        )
    if not getattr(servers[server], feature):
        raise InvalidParameter(
            f"`{param}`: the {feature} of the MCP server {server!r} may not be used.",
            param=param,
            hint=f"`mcp_servers.{server}.{feature}: true` in the profile allows it.",
        )


def _limit(choice: LimitsChoice, limits: Limits) -> Limits:
    """`limits` with what is chosen. Raises InvalidParameter beyond what a profile could say."""
    chosen = {name: it for name, it in msgspec.structs.asdict(choice).items() if it is not None}
    time_s = chosen.get("time_s")
    if time_s is not None and not (isfinite(time_s) and time_s > 0):
        raise InvalidParameter("`limits.time_s`: more than 0 seconds.", param="limits.time_s")
    given: dict[str, Any] = {"model": "any", "budgets": {}}
    for name, value in chosen.items():
        if name != "time_s":
            (given if name in _OF_AGENT else given["budgets"])[name] = value
    try:
        AgentConfig.model_validate(given)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        param = f"limits.{detail['loc'][-1]}"
        raise InvalidParameter(f"`{param}`: {_explain(detail['msg'])}.", param=param) from None
    return replace(limits, **chosen)


def _require_tool(pattern: str, param: str, profile: Profile | None) -> None:
    """Raises InvalidParameter for a pattern that means nothing in the profile."""
    shown = pattern[:80]
    if not fullmatch(TOOL_PATTERN_PATTERN, pattern):
        raise InvalidParameter(
            f"`{param}`: {shown!r} is no tool.",
            param=param,
            hint="Tools are called like `add`, `mcp/time/get_current_time` or `mcp/time/*`.",
        )
    tools = list(profile.tools) if profile is not None else []
    servers = list(profile.mcp_servers) if profile is not None else []
    if pattern.startswith("mcp/"):
        server = pattern.split("/")[1]
        if not any(fnmatchcase(name, server) for name in servers):
            raise InvalidParameter(
                f"`{param}`: the profile declares no MCP server {server[:80]!r}.",
                param=param,
                hint=_suggest(server, servers),
            )
        _require_offered(pattern, param, profile)
    elif pattern != "*" and not any(matches(pattern, name) for name in tools):
        raise InvalidParameter(
            f"`{param}`: the profile declares no tool {shown!r}.",
            param=param,
            hint=_suggest(pattern, tools),
        )


def _require_offered(pattern: str, param: str, profile: Profile | None) -> None:
    """Raises InvalidParameter for a tool of an MCP server that the profile does not offer."""
    _, server, tool = pattern.split("/", 2)
    config = profile.mcp_servers.get(server) if profile is not None else None
    if config is None or "*" in tool or is_allowed(config, tool):
        return
    if not (config.resources and tool == RESOURCE_TOOL):
        raise InvalidParameter(
            f"`{param}`: the profile offers no tool {tool[:80]!r} of the MCP server {server!r}.",
            param=param,
            hint=_suggest(tool, list(config.tools.allow))
            if config.tools.allow
            else f"It offers none: `mcp_servers.{server}.tools.allow` names them.",
        )


def _with_system_prompt(messages: tuple[Message, ...], prompt: str | None) -> tuple[Message, ...]:
    if prompt is None or any(message.role == "system" for message in messages):
        return messages
    return (Message(role="system", content=prompt), *messages)


def _dump(prediction: PredictionConfig) -> bytes:
    return prediction.model_dump_json(exclude_unset=True).encode()


def _explain(message: str) -> str:
    return message.removeprefix("Value error, ").rstrip(".")


def _suggest(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """Some of `known`, the likeliest first."""
    if not known:
        return "The profile declares none."
    close = get_close_matches(name, list(known), n=MAX_SUGGESTED, cutoff=0.3)
    names = [*close, *(it for it in known if it not in close)]
    more = f" and {len(names) - MAX_SUGGESTED} more" if len(names) > MAX_SUGGESTED else ""
    return f"Declared: {', '.join(names[:MAX_SUGGESTED])}{more}."
