"""MCP servers as other programs' `mcp.json` has them → as a profile does. Pure: no file, no secret
kept.

What looks like a secret becomes a reference to a variable, whose value is said nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from lmrun.profile.tooling.literal_secrets import find_secret
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.profile.tooling.naming import SERVER_PATTERN

SECTION = "mcpServers"

_MAX_NAME_LENGTH = 32
_KNOWN = {"command", "args", "env", "cwd", "url", "headers", "type", "transport", "disabled"}
_TRANSPORTS = {
    "http": "streamable_http",
    "streamable-http": "streamable_http",
    "streamableHttp": "streamable_http",
    "sse": "sse",
    "stdio": None,
}

_SECRET_NAME = re.compile(
    r"key|token|secret|pass(w|phrase)|auth|credential|cookie|(^|[_-])(pat|pwd|pin)($|[_-])",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"(sk|pk|rk)-\S{8,}|gh[opsur]_\S{8,}|github_pat_\S+|glpat-\S+|xox[a-z]-\S+|hf_\S{8,}"
    r"|AKIA[A-Z0-9]{12,}|eyJ\S{20,}|(?=\S*[0-9])(?=\S*[A-Za-z])[A-Za-z0-9+_=-]{32,}"
)
_SCHEME = re.compile(r"(Bearer|Basic|Token)\s+(\S.*)", re.IGNORECASE)
_FLAG = re.compile(r"(--?[A-Za-z][A-Za-z0-9_-]*)(?:=(.+))?", re.DOTALL)
_IN_QUERY = re.compile(r"([?&])([^=&#]+)=([^&#]+)")
_REFERENCE = re.compile(r"\$\{(?:(env|input):)?([A-Za-z_][A-Za-z0-9_-]*)(:-[^}]*)?\}")
_NOT_IN_PROFILES = re.compile("[\0\ud800-\udfff]")
_NOT_IN_VARIABLES = re.compile(r"[^A-Za-z0-9]+")


class ImportRefused(Exception):
    """It is no such file, or holds no such servers; the message has a line for each problem."""


@dataclass(slots=True)
class Imported:
    """`servers`: by name, each as below `mcp_servers` in a profile. `variables`: those that have to
    be set for them, each with what it is for. `notes`: what was left out or renamed."""

    servers: dict[str, dict[str, Any]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def convert(data: Any) -> Imported:
    """`data`: the JSON of the file. Raises ImportRefused with every problem at once."""
    section = data.get(SECTION) if isinstance(data, dict) else None
    if not isinstance(section, dict) or not section:
        raise ImportRefused(f"there is no `{SECTION}` in it")
    imported = Imported()
    problems: list[str] = []
    values: dict[str, str] = {}
    for given, entry in section.items():
        name = _make_name(given, imported)
        try:
            converted = _Entry(name, imported, values).convert(entry)
            if converted is not None:
                McpServerConfig.model_validate(converted)
                imported.servers[name] = converted
        except ValidationError as error:
            problems += [f"{given}: {_describe(it)}" for it in error.errors(include_url=False)]
        except ImportRefused as refused:
            problems.append(f"{given}: {refused}")
    if problems:
        raise ImportRefused("\n".join(problems))
    return imported


def _make_name(given: str, imported: Imported) -> str:
    name = given
    if not re.fullmatch(SERVER_PATTERN, given) or len(given) > _MAX_NAME_LENGTH:
        name = (
            _NOT_IN_VARIABLES.sub("-", given).strip("-")[:_MAX_NAME_LENGTH].strip("-") or "server"
        )
    taken, number = name, 2
    while name in imported.servers:
        name, number = f"{taken[: _MAX_NAME_LENGTH - 3]}-{number}", number + 1
    if name != given:
        imported.notes.append(f"{given}: is called {name} here")
    return name


def _describe(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


@dataclass(slots=True)
class _Entry:
    """One server. `values`: what the variables so far stand for."""

    name: str
    imported: Imported
    values: dict[str, str]

    def convert(self, entry: Any) -> dict[str, Any] | None:
        """None for one that is switched off."""
        if not isinstance(entry, dict):
            raise ImportRefused("is no object")
        if entry.get("disabled") is True:
            self._note("is switched off there, and was left out")
            return None
        unknown = sorted(entry.keys() - _KNOWN)
        if unknown:
            self._note(f"not taken over: {', '.join(unknown)}")
        kind = entry.get("type", entry.get("transport"))
        if kind is not None and (not isinstance(kind, str) or kind not in _TRANSPORTS):
            raise ImportRefused(f"{kind!r} is no transport that lmrun speaks")
        converted = self._local(entry) if "command" in entry else self._remote(entry, kind)
        # There, every tool is offered, and somebody is asked about each call.
        return {**converted, "tools": {"allow": ["*"]}}

    def _local(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        args = entry.get("args") or []
        if not isinstance(args, list):
            raise ImportRefused("`args` is no list")
        command = [_text(entry["command"], "command"), *(_text(it, "args") for it in args)]
        converted: dict[str, Any] = {"command": list(self._arguments(command))}
        env = _texts(entry, "env")
        if env:
            converted["env"] = {key: self._value(value, key, key) for key, value in env.items()}
        if entry.get("cwd") is not None:
            converted["cwd"] = self._plain(_text(entry["cwd"], "cwd"))
        return converted

    def _remote(self, entry: Mapping[str, Any], kind: Any) -> dict[str, Any]:
        if "url" not in entry:
            raise ImportRefused("has neither a `command` nor a `url`")
        converted: dict[str, Any] = {"url": self._url(_text(entry["url"], "url"))}
        transport = _TRANSPORTS.get(str(kind))
        if transport == "sse":
            converted["transport"] = transport
        headers = _texts(entry, "headers")
        if headers:
            converted["headers"] = {key: self._header(key, it) for key, it in headers.items()}
        return converted

    def _arguments(self, command: list[str]) -> Iterator[str]:
        flag: str | None = None
        for text in command:
            found = _FLAG.fullmatch(text)
            secret = find_secret(text)
            if secret is not None:
                value = self._header(secret.name, text[secret.start : secret.end])
                yield self._plain(text[: secret.start]) + value + self._plain(text[secret.end :])
            elif found and found[2] is not None:
                yield f"{found[1]}={self._value(found[2], found[1], self._own(found[1]))}"
            else:
                name = flag if flag is not None and not found else ""
                yield self._value(text, name, self._own(name or "secret"))
            flag = found[1] if found and found[2] is None else None

    def _header(self, name: str, value: str) -> str:
        found = _SCHEME.fullmatch(value)
        if found is not None:
            own = "token" if name.lower() == "authorization" else name
            return f"{found[1]} {self._value(found[2], 'token', self._own(own))}"
        return self._value(value, name, self._own(name))

    def _url(self, url: str) -> str:
        def replace(found: re.Match[str]) -> str:
            mark, name, value = found.groups()
            return f"{mark}{name}={self._value(value, name, self._own(name))}"

        scheme, slashes, rest = url.partition("://")
        if "@" in rest.partition("/")[0]:
            raise ImportRefused("its `url` holds a user name; use `headers`")
        return scheme + slashes + _IN_QUERY.sub(replace, rest)

    def _value(self, value: str, name: str, variable: str) -> str:
        """A reference where `value` is a secret, by what it is called or by how it looks."""
        if _REFERENCE.search(value) or not value:
            return self._plain(value)
        if not (_SECRET_NAME.search(name) or _SECRET_VALUE.fullmatch(value)):
            return self._plain(value)
        variable = _NOT_IN_VARIABLES.sub("_", variable).strip("_").upper()
        if self.values.setdefault(variable, value) != value:
            variable = self._own(variable)
            self.values[variable] = value
        return self._refer(variable)

    def _plain(self, text: str) -> str:
        """References of other programs as a profile has them; what only looks like one, escaped."""
        parts: list[str] = []
        end = 0
        for found in _REFERENCE.finditer(text):
            parts.append(text[end : found.start()].replace("${", "$${"))
            variable = _NOT_IN_VARIABLES.sub("_", found[2])
            parts.append(self._refer(variable, found[3] or ""))
            end = found.end()
        return "".join([*parts, text[end:].replace("${", "$${")])

    def _refer(self, variable: str, default: str = "") -> str:
        if not default:
            self.imported.variables.setdefault(variable, self.name)
        return f"${{env:{variable}{default}}}"

    def _own(self, name: str) -> str:
        """A variable's name that no other server's has."""
        return _NOT_IN_VARIABLES.sub("_", f"{self.name}_{name}").strip("_").upper()

    def _note(self, text: str) -> None:
        self.imported.notes.append(f"{self.name}: {text}")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ImportRefused(f"`{where}` holds something that is no text")
    if _NOT_IN_PROFILES.search(value):
        raise ImportRefused(f"`{where}` holds a character that no profile can hold")
    return value


def _texts(entry: Mapping[str, Any], where: str) -> dict[str, str]:
    found = entry.get(where) or {}
    if not isinstance(found, dict):
        raise ImportRefused(f"`{where}` is no object")
    return {_text(key, where): _text(_as_text(value), where) for key, value in found.items()}


def _as_text(value: Any) -> Any:
    """Numbers and booleans are nothing but text in a variable."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value
