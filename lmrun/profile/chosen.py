"""Load settings given one by one as text (`load.context_length=4096`) → a load config.

As strict as the profile, and with its words for what is wrong. It knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from lmrun.errors import InvalidParameter
from lmrun.profile.problems import find_faults, to_problems
from lmrun.profile.shape import profile_shape
from lmrun.profile.text import nodes
from lmrun.profile.text.strict_yaml import parse_yaml
from lmrun.profile.writing.edit import to_data
from lmrun.settings.base import Settings
from lmrun.settings.load import LoadConfig

FILES = frozenset({"adapters", "mmproj", "draft_model"})
"""Settings that name files: those are the profile's to name."""


class _Chosen(Settings):
    load: LoadConfig = LoadConfig()


def parse_chosen(given: Mapping[str, str]) -> LoadConfig:
    """By their paths in a model of the profile; values as YAML. Only what is given is set.

    Raises InvalidParameter for the first that is wrong.
    """
    tree = nodes.Mapping({}, nodes.Position("", 1, 1))
    for field, text in given.items():
        _put(tree, field, _parse_value(field, text))
    try:
        return _Chosen.model_validate(to_data(tree)).load
    except ValidationError as error:
        model_shape = profile_shape().child("models").child("")
        problem = next(to_problems(find_faults(error, tree), model_shape))
        end = "" if problem.message.endswith("?") else "."
        raise InvalidParameter(
            f"`{problem.path}`: {problem.message}{end}", param=problem.path
        ) from None


def _parse_value(field: str, text: str) -> nodes.Node:
    if "${" in text:
        raise InvalidParameter(f"`{field}`: references are for profiles only.", param=field)
    parsed = parse_yaml(f"value: {text}", "")
    root = parsed.root
    if not parsed.problems and root is not None and list(root.entries) == ["value"]:
        node = root.entries["value"].node
        if to_data(node) is not None or text.strip() in ("null", "~"):
            return node
    raise InvalidParameter(f"`{field}`: {text[:64]!r} is no YAML value.", param=field)


def _put(tree: nodes.Mapping, field: str, value: nodes.Node) -> None:
    """Set a value in the tree, which grows."""
    first, *parts = field.split(".")
    if first != "load" or not parts:
        raise InvalidParameter(
            f"`{field[:64]}` cannot be set by hand; only load settings (`load.…`) can.",
            param=field,
            hint="Everything else is set in the profile, and applied.",
        )
    if parts[0] in FILES:
        raise InvalidParameter(
            f"`{field}` cannot be set by hand: it names files, which only the profile does.",
            param=field,
        )
    at = tree
    for part in (first, *parts[:-1]):
        entry = at.entries.get(part)
        if entry is None or not isinstance(entry.node, nodes.Mapping):
            entry = nodes.Entry(tree.position, nodes.Mapping({}, tree.position))
            at.entries[part] = entry
        assert isinstance(entry.node, nodes.Mapping), "it was made one"
        at = entry.node
    at.entries[parts[-1]] = nodes.Entry(tree.position, value)
