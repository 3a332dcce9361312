"""The one door for profiles: a path → the typed profile, or every problem at once.

It knows no server and no catalog; whether a model's file exists is found out later.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from lmrun.errors import Problem, ProfileInvalid
from lmrun.profile.check_contradictions import find_check_contradictions
from lmrun.profile.checks import find_contradictions
from lmrun.profile.problems import Fault, find_faults, place, to_problems
from lmrun.profile.references import find_environment
from lmrun.profile.resolver import UNRESOLVED, Resolver
from lmrun.profile.schema import Profile
from lmrun.profile.shape import profile_shape
from lmrun.profile.text import nodes
from lmrun.profile.text.files import ReadText, read_text
from lmrun.profile.text.overlay import Overlaid, read_overlaid
from lmrun.profile.tooling.contradictions import find_tooling_contradictions

__all__ = [
    "LoadedProfile",
    "ReadText",
    "SourceText",
    "load_profile",
    "read_text",
]

MAX_PROBLEMS = 500
"""More in one report help nobody; writing them down would take seconds."""


@dataclass(frozen=True)
class SourceText:
    """A file as it was read."""

    path: Path
    text: str


@dataclass(frozen=True)
class LoadedProfile:
    """A valid profile and what it was made of.

    `root`: the file that was asked for, absolute. `texts`: every file read: the root, its
    includes, then what `${file:…}` named outside secret fields. `base_dirs`: model key → the
    directory that a `file:` source is relative to. `attachment_dirs`: the same for the model's
    `load.adapters`, `load.mmproj` and `load.draft_model`, by these names, and for what is named in
    its `instances`. `environment`: the names
    of all `${env:…}`. `golden_dirs`: check → the directory that its `expect.golden` lies below.
    `tool_dirs`, `mcp_dirs`: a tool or MCP server → the directory its paths and modules are relative
    to: that of the file which says what it is. `written`: a field with a reference → what the file
    says instead of the value, which may be a secret.
    """

    profile: Profile
    root: Path
    texts: tuple[SourceText, ...]
    base_dirs: Mapping[str, Path]
    attachment_dirs: Mapping[str, Mapping[str, Path]]
    environment: frozenset[str]
    golden_dirs: Mapping[str, Path] = field(default_factory=dict)
    tool_dirs: Mapping[str, Path] = field(default_factory=dict)
    mcp_dirs: Mapping[str, Path] = field(default_factory=dict)
    written: Mapping[nodes.Path, str] = field(default_factory=dict)


def load_profile(
    path: Path, environment: Mapping[str, str], read: ReadText = read_text
) -> LoadedProfile:
    """Reads, merges, resolves and checks. Raises ProfileInvalid with every problem at once.

    `read` gives the texts of the root, its includes and plain `${file:…}`, and raises OSError for
    what it does not have; files of secrets are always read from the disk.
    """
    root = Path(os.path.abspath(path))
    overlaid = read_overlaid(root, read)
    if overlaid.yaml_problems or overlaid.root is None:
        _refuse([*overlaid.yaml_problems, *overlaid.include_problems], overlaid)
    tree = overlaid.root
    resolver = Resolver(environment, read)
    data = resolver.resolve(tree, profile_shape())
    profile, found = _validate(data, tree, has_holes=bool(overlaid.include_problems))
    problems = [*overlaid.include_problems, *resolver.problems, *found]
    if problems or profile is None:
        _refuse(problems, overlaid)
    texts = overlaid.texts | resolver.texts
    return LoadedProfile(
        profile=profile,
        root=root,
        texts=tuple(SourceText(file, text) for file, text in texts.items()),
        base_dirs=_find_base_dirs(tree),
        attachment_dirs=_find_attachment_dirs(tree),
        environment=find_environment(tree),
        golden_dirs=_find_golden_dirs(tree),
        tool_dirs=_find_dirs(tree, "tools", ("python", "command", "http")),
        mcp_dirs=_find_dirs(tree, "mcp_servers", ("command", "url")),
        written=resolver.written,
    )


def _validate(
    data: Any, tree: nodes.Mapping, *, has_holes: bool
) -> tuple[Profile | None, list[Problem]]:
    """The profile, and what types and checks find. Holes: an include that could not be read."""
    profile: Profile | None = None
    problems: list[Problem] = []
    try:
        profile = Profile.model_validate(data)
    except ValidationError as error:
        # Twice: several faults of a union become one problem.
        some = islice(find_faults(error, tree), 2 * MAX_PROBLEMS)
        faults = (fault for fault in some if _is_news(fault, has_holes))
        problems += to_problems(faults, profile_shape())
    if not has_holes:
        findings = [
            *find_contradictions(data),
            *find_check_contradictions(data),
            *find_tooling_contradictions(data, tree),
        ]
        problems += [place(finding, tree) for finding in findings]
    return profile, problems


def _is_news(fault: Fault, has_holes: bool) -> bool:
    """Whether nothing else explains the fault: an unresolved reference, a missing include."""
    if fault.error["input"] is UNRESOLVED:
        return False
    return not (has_holes and fault.error["type"] == "missing")


def _find_base_dirs(tree: nodes.Mapping) -> dict[str, Path]:
    return {key: _folder_of(model.entries["source"].node) for key, model in _models(tree).items()}


def _find_attachment_dirs(tree: nodes.Mapping) -> dict[str, dict[str, Path]]:
    """By model and field of its `load`; `instances` are a list, which is of one file."""
    return {key: dict(_find_attachments(model)) for key, model in _models(tree).items()}


def _find_attachments(model: nodes.Mapping) -> Iterator[tuple[str, Path]]:
    load = model.entries["load"].node if "load" in model.entries else None
    if isinstance(load, nodes.Mapping):
        yield from ((name, _folder_of(entry.node)) for name, entry in load.entries.items())
    if "instances" in model.entries:
        yield "instances", _folder_of(model.entries["instances"].node)


def _find_golden_dirs(tree: nodes.Mapping) -> dict[str, Path]:
    expectations = {
        name: check.entries["expect"].node for name, check in _members(tree, "checks").items()
    }
    return {
        name: _folder_of(expected.entries["golden"].node)
        for name, expected in expectations.items()
        if isinstance(expected, nodes.Mapping) and "golden" in expected.entries
    }


def _find_dirs(tree: nodes.Mapping, section: str, kinds: tuple[str, ...]) -> dict[str, Path]:
    """By name: where the field that says what it is was declared."""
    return {
        name: _folder_of(member.entries[kind].node)
        for name, member in _members(tree, section).items()
        for kind in kinds
        if kind in member.entries
    }


def _models(tree: nodes.Mapping) -> dict[str, nodes.Mapping]:
    return _members(tree, "models")


def _members(tree: nodes.Mapping, section: str) -> dict[str, nodes.Mapping]:
    """The mappings with free names that a section of the profile holds, by name."""
    node = tree.entries[section].node if section in tree.entries else None
    entries = node.entries if isinstance(node, nodes.Mapping) else {}
    return {
        key: entry.node for key, entry in entries.items() if isinstance(entry.node, nodes.Mapping)
    }


def _folder_of(node: nodes.Node) -> Path:
    """A list is of one file: a later one replaces it as a whole."""
    return Path(node.position.file).parent


def _refuse(problems: list[Problem], overlaid: Overlaid) -> NoReturn:
    order = {str(file): index for index, file in enumerate(overlaid.texts)}
    unique = sorted(
        dict.fromkeys(problems),
        key=lambda problem: (order.get(problem.file, 0), problem.line, problem.column),
    )
    if len(unique) > MAX_PROBLEMS:
        rest = f"more than {MAX_PROBLEMS} problems; the others are not shown"
        unique[MAX_PROBLEMS:] = [Problem(unique[0].file, 0, 0, "", rest)]
    raise ProfileInvalid(tuple(unique))
