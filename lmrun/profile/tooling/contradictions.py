"""What tools, MCP servers, agents and the policy say that the rest of the profile contradicts. It
works on resolved data that may be wrong elsewhere, and knows no text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from lmrun.profile.check_contradictions import find_owners
from lmrun.profile.checks import Finding, suggest
from lmrun.profile.text.nodes import Mapping, Path
from lmrun.profile.tooling.effective import RESOURCE_TOOL, is_named
from lmrun.profile.tooling.literal_secrets import find_literal_secrets
from lmrun.profile.tooling.naming import TOOL_PATTERN_PATTERN, matches
from lmrun.profile.tooling.references import is_prompt, is_resource, split_reference
from lmrun.profile.tooling.template_faults import find_template_faults

_NO_MODEL = "no model has this key or identifier"


class _Known(NamedTuple):
    """What a profile declares. `owners`: every name of a model → its key."""

    models: dict[str, Any]
    owners: dict[str, str]
    presets: dict[str, Any]
    tools: dict[str, Any]
    servers: dict[str, Any]
    agents: dict[str, Any]
    keys: list[str]


def find_tooling_contradictions(data: Any, tree: Mapping) -> Iterator[Finding]:
    """Everything that is wrong between these sections and others; values of a wrong type are
    passed over. `tree`: what `data` was made of."""
    profile = _mapping(data)
    models = _mapping(profile.get("models"))
    api_keys = _list(_mapping(profile.get("server")).get("api_keys"))
    known = _Known(
        models=models,
        owners=find_owners(models),
        presets=_mapping(profile.get("presets")),
        tools=_mapping(profile.get("tools")),
        servers=_mapping(profile.get("mcp_servers")),
        agents=_mapping(profile.get("agents")),
        keys=[name for it in api_keys if isinstance(name := _mapping(it).get("name"), str)],
    )
    yield from _shadowing_tools(known)
    yield from find_template_faults(known.tools)
    for name, server in known.servers.items():
        yield from _wrong_server(name, _mapping(server), known)
    for name, agent in known.agents.items():
        yield from _wrong_agent(name, _mapping(agent), known)
    yield from _wrong_presets(known)
    rules = _list(_mapping(profile.get("policy")).get("rules"))
    for index, rule in enumerate(rules):
        yield from _wrong_rule(("policy", "rules", index), _mapping(rule), known)
    yield from find_literal_secrets(tree)


def _shadowing_tools(known: _Known) -> Iterator[Finding]:
    for key in known.tools:
        server = key.partition("__")[0]
        if "__" in key and server in known.servers:
            message = (
                f"is how models call a tool of the MCP server `{server}`; choose a name that does "
                f"not begin with `{server}__`"
            )
            yield Finding(("tools", key), message)


def _wrong_server(name: str, server: dict[str, Any], known: _Known) -> Iterator[Finding]:
    at: Path = ("mcp_servers", name)
    model = _mapping(server.get("sampling")).get("model")
    yield from _wrong_model((*at, "sampling", "model"), model, known, "sampling")
    tools = _mapping(server.get("tools"))
    named: list[tuple[Path, Any]] = [
        *(
            ((*at, "tools", it, tool), tool)
            for it in ("policy", "effects")
            for tool in _mapping(tools.get(it))
        ),
        *(
            ((*at, "tools", "idempotent", index), tool)
            for index, tool in enumerate(_list(tools.get("idempotent")))
        ),
    ]
    for path, tool in named:
        if isinstance(tool, str) and "*" not in tool and not _offers(server, tool):
            yield Finding(path, _not_offered(name, tool, server))


def _wrong_agent(name: str, agent: dict[str, Any], known: _Known) -> Iterator[Finding]:
    at: Path = ("agents", name)
    if name in known.owners:
        yield Finding(at, f"model `{known.owners[name]}` is called so, too; choose another name")
    yield from _wrong_model((*at, "model"), agent.get("model"), known, "an agent")
    yield from _wrong_choice((*at, "preset"), agent.get("preset"), known)
    for index, resource in enumerate(_list(agent.get("context"))):
        if isinstance(resource, str) and is_resource(resource):
            yield from _wrong_reference((*at, "context", index), resource, "resources", known)
    for path, pattern in _patterns((*at, "tools"), agent):
        fault = _find_pattern_fault(pattern, known) or _find_unoffered(pattern, known)
        if fault is not None:
            yield Finding(path, fault)


def _wrong_presets(known: _Known) -> Iterator[Finding]:
    """Prompts that no server has to give, and presets with one where nobody would ask for it."""
    of_servers: set[str] = set()
    for name, preset in known.presets.items():
        prompt = _mapping(preset).get("mcp_prompt")
        if isinstance(prompt, str) and is_prompt(prompt):
            of_servers.add(name)
            yield from _wrong_reference(("presets", name, "mcp_prompt"), prompt, "prompts", known)
    for key, model in known.models.items():
        named: list[tuple[Path, Any]] = [(("models", key, "preset"), _mapping(model).get("preset"))]
        named += [
            (("models", key, "prewarm", index), name)
            for index, name in enumerate(_list(_mapping(model).get("prewarm")))
        ]
        for path, chosen in named:
            if isinstance(chosen, str) and chosen in of_servers:
                message = (
                    "this preset has an `mcp_prompt`, which is asked for when a run begins; agents "
                    "and runs can use it, a model by itself cannot"
                )
                yield Finding(path, message)


def _wrong_choice(path: Path, preset: Any, known: _Known) -> Iterator[Finding]:
    """What is chosen as a preset: a prompt of a server, or the name of one."""
    if not isinstance(preset, str):
        return
    if is_prompt(preset):
        yield from _wrong_reference(path, preset, "prompts", known)
    elif preset not in known.presets and "/" not in preset:
        hint = suggest(preset, list(known.presets)) or "; this profile has no `presets`"
        yield Finding(path, f"no preset has this name{hint}")


def _wrong_reference(path: Path, reference: str, feature: str, known: _Known) -> Iterator[Finding]:
    """`feature`: which field of the server allows what is referred to."""
    name, _ = split_reference(reference)
    if name not in known.servers:
        hint = suggest(name, list(known.servers)) or "; this profile has no `mcp_servers`"
        yield Finding(path, f"no MCP server has this name{hint}")
    elif _mapping(known.servers[name]).get(feature) is not True:
        yield Finding(path, f"`mcp_servers.{name}` must say `{feature}: true` for that")


def _wrong_rule(at: Path, rule: dict[str, Any], known: _Known) -> Iterator[Finding]:
    for path, pattern in _patterns((*at, "tools"), rule):
        fault = _find_pattern_fault(pattern, known)
        if fault is not None:
            yield Finding(path, fault)
    # A rule about a name that nobody has never applies, and what it denies is run.
    names: tuple[tuple[str, Iterable[str], str], ...] = (
        ("keys", known.keys, "no API key has this name"),
        ("models", known.owners, _NO_MODEL),
        ("agents", known.agents, "no agent has this name"),
    )
    for field, declared, words in names:
        for index, name in enumerate(_list(rule.get(field))):
            if isinstance(name, str) and name not in declared:
                hint = suggest(name, list(declared)) or "; this profile has none"
                yield Finding((*at, field, index), f"{words}{hint}")
    for name, pattern in _mapping(rule.get("arguments")).items():
        fault = _find_argument_fault(name, rule, known) or _find_regex_fault(pattern)
        if fault is not None:
            yield Finding((*at, "arguments", name), fault)


def _wrong_model(path: Path, name: Any, known: _Known, who: str) -> Iterator[Finding]:
    if not isinstance(name, str):
        return
    if name not in known.owners:
        hint = suggest(name, list(known.owners)) or "; this profile has no `models`"
        yield Finding(path, f"{_NO_MODEL}{hint}")
    elif _mapping(known.models.get(known.owners[name])).get("state") == "absent":
        yield Finding(path, f"this model is `absent`; {who} needs one that can be loaded")


def _patterns(at: Path, owner: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """What the types have not refused already."""
    for index, pattern in enumerate(_list(owner.get("tools"))):
        if isinstance(pattern, str) and re.match(TOOL_PATTERN_PATTERN, pattern):
            yield (*at, index), pattern


def _find_pattern_fault(pattern: str, known: _Known) -> str | None:
    """Why a pattern means no tool of the profile."""
    if pattern == "*":
        return None
    if pattern.startswith("mcp/"):
        server = pattern.split("/")[1]
        if any(fnmatchcase(name, server) for name in known.servers):
            return None
        hint = suggest(server, list(known.servers)) or "; this profile has no `mcp_servers`"
        return f"no MCP server has this name{hint}"
    if any(matches(pattern, key) for key in known.tools):
        return None
    server = pattern.partition("__")[0]
    if server in known.servers and "__" in pattern:
        return f"tools of the MCP server `{server}` are written `mcp/{server}/…` here"
    hint = suggest(pattern, list(known.tools)) or "; this profile has no `tools`"
    return f"no tool has this name{hint}"


def _find_unoffered(pattern: str, known: _Known) -> str | None:
    """Why the one server that a pattern names offers no such tool."""
    if not pattern.startswith("mcp/") or "*" in pattern.split("/")[1]:
        return None
    _, name, tool = pattern.split("/")
    server = _mapping(known.servers.get(name))
    if "*" not in tool:
        return None if _offers(server, tool) else _not_offered(name, tool, server)
    if _list(_mapping(server.get("tools")).get("allow")) or server.get("resources") is True:
        return None
    return f"`mcp_servers.{name}` offers no tool; name some in its `tools.allow`"


def _offers(server: dict[str, Any], tool: str) -> bool:
    tools = _mapping(server.get("tools"))
    if tool == RESOURCE_TOOL and server.get("resources") is True:
        return True
    allowed, denied = (
        [it for it in _list(tools.get(field)) if isinstance(it, str)] for field in ("allow", "deny")
    )
    return is_named(allowed, tool) and not is_named(denied, tool)


def _not_offered(name: str, tool: str, server: dict[str, Any]) -> str:
    allowed = [
        it for it in _list(_mapping(server.get("tools")).get("allow")) if isinstance(it, str)
    ]
    hint = suggest(tool, allowed) or "; name it in its `tools.allow`"
    return f"`mcp_servers.{name}` does not offer this tool{hint}"


def _find_argument_fault(path: str, rule: dict[str, Any], known: _Known) -> str | None:
    """Why no call that the rule means can have such an argument; what functions and MCP servers
    take is not known here."""
    patterns = [it for it in _list(rule.get("tools")) if isinstance(it, str)]
    if not patterns or any(it == "*" or it.startswith("mcp/") for it in patterns):
        return None
    meant = [
        _mapping(tool)
        for key, tool in known.tools.items()
        if any(matches(pattern, key) for pattern in patterns)
    ]
    if not meant or any("python" in tool for tool in meant):
        return None
    parameters = [name for tool in meant for name in _mapping(tool.get("parameters"))]
    if path in parameters or path.partition(".")[0] in parameters:
        return None
    hint = suggest(path, list(dict.fromkeys(parameters))) or "; they have none"
    return f"no parameter of these tools is called so{hint}"


def _find_regex_fault(pattern: Any) -> str | None:
    if not isinstance(pattern, str):
        return None
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        # The types say so already.
        return None
    # Imported late: most profiles have no rule, and every command reads one.
    from lmrun.settings.bounded_regex import find_regex_fault

    return find_regex_fault(pattern)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
