"""Which of a server's tools are offered, as what, and why the others are not. Pure; it knows no
session and nobody's consent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lmrun.profile.tooling.effective import (
    RESOURCE_TOOL,
    is_allowed,
    is_named,
    mcp_effects_of,
    mcp_policy_of,
)
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.profile.tooling.naming import mcp_name, mcp_path
from lmrun.tools.mcp.cleaning import clean, clean_values, has_clean_names
from lmrun.tools.mcp.consent import Fault, ToolDefinition
from lmrun.tools.tool import ToolSpec

MAX_TOOLS = 256
MAX_DESCRIPTION_BYTES = 16 * 2**10
MAX_SCHEMA_BYTES = 64 * 2**10

_TOO_MANY = f"It lists more than {MAX_TOOLS} tools; the first {MAX_TOOLS} are taken."
_NO_RESOURCES = Fault("missing", "The server has no resources.", hint="Take out `resources`.")
_NO_TASKS = Fault(
    "unsupported",
    "It can only be called as a task, and the server does not say that it does tasks as revision "
    "2025-11-25 has them.",
)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_URI = "Of the resource; of a template, with its braces filled in."
_READ_RESOURCE_SCHEMA = {
    "type": "object",
    "properties": {"uri": {"type": "string", "description": _URI}},
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool that may be called. `definition` None: it is lmrun's own, for resources."""

    spec: ToolSpec
    definition: ToolDefinition | None


@dataclass(frozen=True, slots=True)
class Offer:
    """`faults`: by the tool's name on its server."""

    tools: tuple[Offered, ...] = ()
    faults: tuple[tuple[str, Fault], ...] = ()


def make_offer(
    server: str,
    config: McpServerConfig,
    definitions: Sequence[ToolDefinition],
    may_use: Callable[[ToolDefinition], Fault | None],
    *,
    has_resources: bool,
    does_tasks: bool,
) -> Offer:
    """What is offered of `definitions`, those that the server lists. A tool that the profile does
    not allow is no fault; one that it names and the server has not, is."""
    tools: list[Offered] = []
    faults = list(_find_missing(config, {it.name for it in definitions}))
    if len(definitions) > MAX_TOOLS:
        faults.append(("*", Fault("too_large", _TOO_MANY)))
    for definition in definitions[:MAX_TOOLS]:
        if not is_allowed(config, definition.name):
            continue
        fault = find_fault(definition)
        if fault is None and definition.needs_task and not does_tasks:
            fault = _NO_TASKS
        fault = fault or may_use(definition)
        spec = make_spec(server, config, definition)
        fault = fault or _find_collision(spec, tools)
        if fault is None:
            tools.append(Offered(spec, definition))
        else:
            faults.append((definition.name, fault))
    if config.resources:
        spec = _resource_spec(server, config)
        fault = _find_collision(spec, tools) if has_resources else _NO_RESOURCES
        if fault is None:
            tools.append(Offered(spec, None))
        else:
            faults.append((RESOURCE_TOOL, fault))
    return Offer(tuple(tools), tuple(faults))


def find_fault(definition: ToolDefinition) -> Fault | None:
    """What is wrong with the tool as it is described."""
    schema = definition.input_schema
    if not _NAME.fullmatch(definition.name):
        return Fault("name", "Its name has characters that a tool's path cannot have.")
    if len((definition.description or "").encode("utf-8", "replace")) > MAX_DESCRIPTION_BYTES:
        return Fault("too_large", f"Its description is longer than {MAX_DESCRIPTION_BYTES} bytes.")
    if len(json.dumps(schema).encode()) > MAX_SCHEMA_BYTES:
        return Fault("too_large", f"Its schema is longer than {MAX_SCHEMA_BYTES} bytes.")
    if schema.get("type") != "object":
        return Fault("schema", "The schema of its arguments is not that of an object.")
    if not has_clean_names(schema):
        return Fault("schema", "The names of its arguments hold characters that nobody sees.")
    return None


def make_spec(server: str, config: McpServerConfig, definition: ToolDefinition) -> ToolSpec:
    """What models are told of it. Nothing that the server says of itself lowers a permission."""
    name = definition.name
    return ToolSpec(
        path=mcp_path(server, name),
        name=mcp_name(server, name),
        description=clean(definition.description) if definition.description else None,
        parameters=clean_values(definition.input_schema),
        policy=mcp_policy_of(config, name),
        effects=mcp_effects_of(config, name),
        is_untrusted=config.untrusted,
        is_idempotent=is_named(config.tools.idempotent, name),
        timeout_s=config.timeout,
        declared=config,
    )


def _resource_spec(server: str, config: McpServerConfig) -> ToolSpec:
    return ToolSpec(
        path=mcp_path(server, RESOURCE_TOOL),
        name=mcp_name(server, RESOURCE_TOOL),
        description=f"Read a resource of the server {server}. Without a URI: list them, and "
        "templates of further ones.",
        parameters=_READ_RESOURCE_SCHEMA,
        policy=mcp_policy_of(config, RESOURCE_TOOL),
        effects=mcp_effects_of(config, RESOURCE_TOOL),
        is_untrusted=config.untrusted,
        is_idempotent=True,
        timeout_s=config.timeout,
        declared=config,
    )


def _find_collision(spec: ToolSpec, others: Iterable[Offered]) -> Fault | None:
    for other in others:
        if other.spec.name == spec.name:
            return Fault("name", f"Towards models it is called {spec.name}, as {other.spec.path}.")
    return None


def _find_missing(config: McpServerConfig, names: set[str]) -> list[tuple[str, Fault]]:
    tools = config.tools
    own = {RESOURCE_TOOL} if config.resources else set()
    named = dict.fromkeys((*tools.allow, *tools.policy, *tools.idempotent, *tools.effects))
    return [
        (name, Fault("missing", "The server has no such tool.", hint="Correct its `tools`."))
        for name in named
        if "*" not in name and name not in names | own
    ]


def as_definition(raw: Any) -> ToolDefinition:
    """A tool of the library's."""
    fields = raw.model_dump(by_alias=True, mode="json", exclude_none=True)
    return ToolDefinition(
        name=fields["name"],
        description=fields.get("description"),
        input_schema=fields["inputSchema"],
        output_schema=fields.get("outputSchema"),
        annotations=fields.get("annotations"),
        needs_task=fields.get("execution", {}).get("taskSupport") == "required",
    )
