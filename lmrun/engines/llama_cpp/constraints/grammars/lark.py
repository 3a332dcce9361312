"""A client's Lark grammar before llguidance reads it: its size, and that it only makes text.

It tokenizes as llguidance does and knows no meaning of rules. Schemas inside of the grammar are
cleaned like any other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lmrun.engines.llama_cpp.constraints.patterns import check_regex
from lmrun.engines.llama_cpp.constraints.refusals import refuse
from lmrun.errors import InvalidParameter

MAX_RULES = 5000
MAX_NESTING = 200
MAX_SYMBOLS = 20_000
MAX_REGEX_CHARACTERS = 8192
MAX_INTERSECTIONS = 8
"""`&` and `~`: 24 intersections took two minutes."""

_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]+|(?:\#|//)[^\n]*)"
    r'|(?P<text>"(?:[^"\\\x00-\x1f\x7f]|\\.)*"i?)'
    r"|(?P<regex>/(?:\\.|[^/\\])+/[imslux]*)"
    r"|(?P<rule>[!?_]*[A-Za-z][A-Za-z0-9_-]*)"
    r"|(?P<command>%[a-z]+)"
    r"|(?P<special><[^<>\s]+>|@[A-Za-z0-9_-]+)"
    r"|(?P<open>[(\[{])|(?P<close>[)\]}])"
    r"|(?P<meet>[&~])"
    r"|(?P<other>[\s\S])"
)
_DEFINITION = re.compile(r"[ \t]*(?:::_)?[ \t]*(?:\.\d+)?[ \t]*(?:\[[^\]\n]*\])?[ \t]*:(?!:)")
_OPTION = re.compile(r"\b(max_tokens|temperature|stop|stop_capture)\b\s*=")
_OPTIONS = {"no_forcing", "ignore_once", "allow_initial_skip"}
_COMMANDS = {"%json", "%llguidance", "%regex", "%ignore", "%import", "%if", "%override", "%declare"}


@dataclass(slots=True)
class _Scan:
    rules: int = 0
    symbols: int = 0
    intersections: int = 0
    depth: int = 0
    line: int = 1
    rule: str = ""

    def error(self, message: str, hint: str | None = None) -> Exception:
        return refuse(f"the grammar {message}", at=f"line {self.line}", hint=hint)


def check_lark(text: str, clean_json: Callable[[Any], Any]) -> str:
    """The grammar with its schemas replaced by `clean_json` of them. Raises InvalidParameter."""
    scan = _Scan()
    parts: list[str] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        assert found is not None
        kind, token, end = str(found.lastgroup), found[0], found.end()
        parts.append(token)
        if kind == "command":
            replaced, end = _read_command(token, text, end, scan, clean_json)
            parts.append(replaced)
        else:
            _read_token(kind, token, text, end, scan)
        scan.line += text.count("\n", position, end)
        position = end
    if scan.depth:
        raise scan.error("leaves a bracket open")
    return "".join(parts)


def _read_token(kind: str, token: str, text: str, end: int, scan: _Scan) -> None:
    if kind in ("rule", "text", "regex"):
        scan.symbols += 1
        if scan.symbols > MAX_SYMBOLS:
            raise scan.error(f"has more than {MAX_SYMBOLS} names, texts and expressions")
    if kind == "rule":
        _read_name(token, text, end, scan)
    elif kind == "regex":
        _check_regex(token, scan)
    elif kind == "special":
        raise scan.error(f"names the token {token[:60]}; only text can be asked for")
    elif kind in ("open", "close"):
        _nest(kind, token, scan)
    elif kind == "meet":
        scan.intersections += 1
        if scan.intersections > MAX_INTERSECTIONS:
            raise scan.error(f"has more than {MAX_INTERSECTIONS} of `&` and `~`")


def _read_name(token: str, text: str, end: int, scan: _Scan) -> None:
    if _DEFINITION.match(text, end):
        scan.rules += 1
        scan.rule = token
        if scan.rules > MAX_RULES:
            raise scan.error(f"has more than {MAX_RULES} rules")
    elif _OPTION.match(text, end - len(token)):
        raise scan.error(f"uses the option `{token}`, which cannot be honoured")


def _nest(kind: str, token: str, scan: _Scan) -> None:
    scan.depth += 1 if kind == "open" else -1
    if scan.depth > MAX_NESTING:
        raise scan.error(f"is nested deeper than {MAX_NESTING}")
    if scan.depth < 0:
        raise scan.error(f"closes a `{token}` that is not open")


def _check_regex(token: str, scan: _Scan) -> None:
    pattern = token[1 : token.rindex("/")]
    if len(pattern) > MAX_REGEX_CHARACTERS:
        raise scan.error(f"has a regular expression over {MAX_REGEX_CHARACTERS} characters")
    check_regex(pattern, f"line {scan.line}")


def _read_command(
    token: str, text: str, end: int, scan: _Scan, clean_json: Callable[[Any], Any]
) -> tuple[str, int]:
    """What stands in place of a command's JSON, and where the text goes on."""
    if token not in _COMMANDS:
        raise scan.error(f"uses `{token}`, which is not supported")
    if token not in ("%json", "%llguidance", "%regex"):
        return "", end
    while end < len(text) and text[end] in " \t\r\n":
        end += 1
    try:
        value, after = json.JSONDecoder().raw_decode(text, end)
    except (ValueError, RecursionError) as error:
        raise scan.error(f"has no JSON after `{token}`: {error}") from None
    if token == "%json":
        value = _clean(value, scan, clean_json)
    if token == "%llguidance" and (not isinstance(value, dict) or not value.keys() <= _OPTIONS):
        raise scan.error(f"may set only {', '.join(sorted(_OPTIONS))} with `%llguidance`")
    return f" {json.dumps(value)}", after


def _clean(value: Any, scan: _Scan, clean_json: Callable[[Any], Any]) -> Any:
    try:
        return clean_json(value)
    except InvalidParameter as error:
        message = f"In the rule `{scan.rule}`: {error.message}"
        raise InvalidParameter(
            message, param=f"{error.param}.{scan.rule}", hint=error.hint
        ) from None
