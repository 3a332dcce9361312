"""Placeholders and parameters of declared tools that do not fit together. It fills none in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lmrun.profile.checks import Finding, suggest
from lmrun.profile.text.nodes import Path

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{(?P<name>[A-Za-z_][A-Za-z0-9_]{0,63})\}")


def find_placeholder_faults(tools: dict[str, Any]) -> Iterator[Finding]:
    """Placeholders without a parameter and parameters without a placeholder, of commands and
    requests; `tools` is resolved data that may be wrong elsewhere."""
    for key, tool in tools.items():
        config = tool if isinstance(tool, dict) else {}
        kind = next((it for it in ("command", "http") if it in config), None)
        parameters = config.get("parameters", {})
        if kind is not None and isinstance(parameters, dict):
            yield from _find_faults(key, kind, config[kind], parameters)


def _find_faults(
    key: str, kind: str, template: Any, parameters: dict[str, Any]
) -> Iterator[Finding]:
    used: set[str] = set()
    for path, text in _find_texts(template, ("tools", key, kind)):
        for found in _PLACEHOLDER.finditer(text):
            name = found["name"]
            if name and name not in parameters and name not in used:
                # Not its name: a secret with a brace in it may have come out of a variable.
                hint = suggest(name, list(parameters)) or "; there are no `parameters`"
                yield Finding(path, f"a placeholder names no parameter{hint}")
            used.add(name)
    for name in parameters:
        if name not in used:
            yield Finding(
                ("tools", key, "parameters", name),
                f"goes nowhere: no `{{{name}}}` stands in `{kind}`; use it, or leave it out",
            )


def _find_texts(template: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Every text that may hold placeholders: not the names in mappings."""
    if isinstance(template, str):
        yield path, template
    elif isinstance(template, dict):
        # What `hosts` and `result` say is not filled in.
        names = ("url", "headers", "body") if path[2:] == ("http",) else tuple(template)
        for name in names:
            yield from _find_texts(template.get(name), (*path, name))
    elif isinstance(template, list):
        for index, item in enumerate(template):
            yield from _find_texts(item, (*path, index))
