"""Whole members of a profile's section, as YAML with one line each. It knows no section by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmrun.profile.text.strict_yaml import parse_yaml
from lmrun.profile.writing.edit import EditRefused, set_value, to_data
from lmrun.profile.writing.values import write_text, write_value


class SectionRefused(Exception):
    """They cannot be added without changing something else; the message says why."""


def write_section(section: str, members: Mapping[str, Any]) -> str:
    """`mcp_servers:` and a line for each member."""
    lines = [f"  {write_text(name)}: {write_value(it)}" for name, it in members.items()]
    return "\n".join([f"{section}:", *lines])


def add_members(text: str, section: str, members: Mapping[str, Any]) -> str:
    """`text`, a profile, with `members` in `section`, which it need not have. Nothing else of it
    changes. Raises SectionRefused, also where a member is there already."""
    root = parse_yaml(text, "").root
    if root is None:
        raise SectionRefused("it is not valid YAML")
    data = to_data(root)
    there = data.get(section)
    known = there if isinstance(there, dict) else {}
    for name in members:
        if name in known:
            raise SectionRefused(f"`{section}.{name}` is there already")
    if section not in data:
        added = f"{text.rstrip()}\n{write_section(section, members)}\n"
        read = parse_yaml(added, "")
        wanted = {**data, section: {**members}}
        if read.root and not read.problems and to_data(read.root) == wanted:
            return added
    try:
        for name, member in members.items():
            text = set_value(text, (section, name), member)
    except EditRefused as refused:
        raise SectionRefused(str(refused)) from None
    return text
