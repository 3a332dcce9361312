"""Command lines and requests of declared tools that no call could be right with, and parameters
that do not fit them. It fills none in, and shows no value: it may be a secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from lmrun.errors import OutboundRefused, ToolInvalid
from lmrun.profile.checks import Finding, suggest
from lmrun.profile.text.nodes import Path
from lmrun.profile.tooling.templates.command import CommandTemplate, check_element
from lmrun.profile.tooling.templates.reach import make_policy
from lmrun.profile.tooling.templates.request import BodyTemplate, HeadersTemplate, UrlTemplate
from lmrun.profile.tooling.templates.result_path import ResultPath
from lmrun.profile.tooling.templates.text import find_names
from lmrun.settings.outbound import AllowedHost
from lmrun.settings.unchecked import find_unchecked

_FILLED = ("url", "headers", "body")
"""Of a request; what `hosts` and `result` say is not filled in."""
_FOR_PROCESSES = ("env", "cwd", "limits")

Attempt = Callable[[], object]


def find_template_faults(tools: dict[str, Any]) -> Iterator[Finding]:
    """Of commands and requests, and schemas of parameters that cannot be checked; `tools` is
    resolved data that may be wrong elsewhere."""
    for key, tool in tools.items():
        at: Path = ("tools", key)
        config = _mapping(tool)
        if "command" in config:
            yield from _wrong_command(at, config["command"])
            yield from _wrong_names(at, "command", config["command"], config)
        elif "http" in config:
            yield from _wrong_request(at, config)
            filled = {name: _mapping(config["http"]).get(name) for name in _FILLED}
            yield from _wrong_names(at, "http", filled, config)
        for name, schema in _mapping(config.get("parameters")).items():
            unchecked = find_unchecked(schema)
            if unchecked is not None:
                message = f"{unchecked} cannot be checked; say it in other words"
                yield Finding((*at, "parameters", name), message)


def _wrong_command(at: Path, command: Any) -> Iterator[Finding]:
    if not isinstance(command, list) or not all(isinstance(text, str) for text in command):
        return
    elements = (partial(check_element, index, text) for index, text in enumerate(command))
    faults = list(_fail(at, *elements))
    if command and not faults:
        faults = list(_fail(at, partial(CommandTemplate, command)))
    yield from faults


def _wrong_request(at: Path, config: dict[str, Any]) -> Iterator[Finding]:
    request = _mapping(config["http"])
    here: Path = (*at, "http")
    for name, value in _mapping(request.get("headers")).items():
        if isinstance(value, str):
            yield from _fail(here, partial(HeadersTemplate.parse, {name: value}))
    yield from _fail(here, partial(BodyTemplate.parse, request.get("body")))
    if isinstance(request.get("result"), str):
        yield from _fail(here, partial(ResultPath.parse, request["result"]))
    yield from _wrong_url(at, request, config)
    for name in _FOR_PROCESSES:
        if name in config:
            yield Finding((*at, name), "is for tools that run a process; leave it out")


def _wrong_url(at: Path, request: dict[str, Any], config: dict[str, Any]) -> Iterator[Finding]:
    here: Path = (*at, "http")
    hosts = _list(request.get("hosts"))
    if not all(isinstance(host, str) for host in hosts):
        return
    wrong_hosts = [
        fault
        for index, host in enumerate(hosts)
        for fault in _fail((*here, "hosts", index), partial(AllowedHost.parse, host))
    ]
    yield from wrong_hosts
    if not isinstance(request.get("url"), str):
        return
    try:
        url = UrlTemplate.parse(request["url"])
    except ToolInvalid as error:
        yield _tell(here, error)
        return
    if not wrong_hosts:
        is_private = request.get("private") is True
        yield from _fail((*here, "url"), partial(make_policy, url, hosts, is_private=is_private))
    for index, name in enumerate(_list(config.get("optional"))):
        if isinstance(name, str) and name in url.names_in_path:
            message = "is a piece of the path, and cannot be left out; take it out of `optional`"
            yield Finding((*at, "optional", index), message)


def _wrong_names(at: Path, kind: str, template: Any, config: dict[str, Any]) -> Iterator[Finding]:
    """Placeholders without a parameter and parameters without a placeholder."""
    parameters = config.get("parameters", {})
    if not isinstance(parameters, dict):
        return
    used: set[str] = set()
    for path, text in _find_texts(template, (*at, kind)):
        for name in find_names(text):
            if name not in parameters and name not in used:
                # Not its name: a secret with a brace in it may have come out of a variable.
                hint = suggest(name, list(parameters)) or "; there are no `parameters`"
                yield Finding(path, f"a placeholder names no parameter{hint}")
            used.add(name)
    for name in parameters:
        if name not in used:
            yield Finding(
                (*at, "parameters", name),
                f"goes nowhere: no `{{{name}}}` stands in `{kind}`; use it, or leave it out",
            )


def _find_texts(template: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Every text that may hold placeholders: not the names in mappings."""
    if isinstance(template, str):
        yield path, template
    elif isinstance(template, dict):
        for name, item in template.items():
            yield from _find_texts(item, (*path, name))
    elif isinstance(template, list):
        for index, item in enumerate(template):
            yield from _find_texts(item, (*path, index))


def _fail(at: Path, *attempts: Attempt) -> Iterator[Finding]:
    """What each of them says is wrong."""
    for attempt in attempts:
        try:
            attempt()
        except ToolInvalid as error:
            yield _tell(at, error)
        except OutboundRefused as error:
            yield Finding(at, _say(error.message, error.hint))


def _tell(at: Path, error: ToolInvalid) -> Finding:
    return Finding((*at, *error.place), _say(error.fault, error.hint))


def _say(fault: str, hint: str | None) -> str:
    return "; ".join(f"{it[0].lower()}{it[1:].rstrip('.')}" for it in (fault, hint) if it)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
