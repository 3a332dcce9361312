"""What the types found wrong → problems in plain words, with positions. It parses nothing.

No message holds a value from the profile: it could be a secret in the wrong place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lmrun.errors import Problem
from lmrun.profile.checks import Finding, suggest
from lmrun.profile.schema import PATTERN_WORDS
from lmrun.profile.shape import Shape
from lmrun.profile.text.nodes import (
    Mapping,
    Node,
    Path,
    Position,
    Scalar,
    Sequence,
    describe_value,
    format_key,
    format_path,
)
from lmrun.profile.text.scalars import parse_scalar

# What would be right, by pydantic's error type; `{…}` are fields of the error's context.
_KINDS = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "model_type": "must be a mapping (`key: value`)",
    "dict_type": "must be a mapping (`key: value`)",
    "tuple_type": "must be a list",
}
_LIMITS = {
    "finite_number": "must be a finite number",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} entries",
}


class Fault(NamedTuple):
    """One error of the types. `union`: the path at which several types were tried, if so."""

    path: Path
    at: Position
    node: Node
    error: ErrorDetails
    union: Path | None


def find_faults(error: ValidationError, root: Mapping) -> Iterator[Fault]:
    """Each of pydantic's errors with its true path and position."""
    for detail in error.errors(include_url=False):
        # A list of which no entry is valid is not what its writer would call empty.
        if not (detail["type"] == "too_short" and detail["input"]):
            yield _locate(detail, root)


def to_problems(faults: Iterable[Fault], shape: Shape) -> Iterator[Problem]:
    """The faults in words; what several types of one union found is explained together."""
    unions: dict[Path, list[Fault]] = {}
    for fault in faults:
        if fault.union is None:
            yield _to_problem(fault, _explain(fault, shape))
        else:
            unions.setdefault(fault.union, []).append(fault)
    for union, group in unions.items():
        yield from _explain_union(union, group, shape)


def place(finding: Finding, root: Mapping) -> Problem:
    """A finding with the position of the value that it is about."""
    node: Node = root
    for part in finding.path:
        if isinstance(node, Mapping) and part in node.entries:
            node = node.entries[str(part)].node
        elif isinstance(node, Sequence) and isinstance(part, int):
            node = node.items[part]
    return Problem(*node.position, format_path(finding.path), finding.message)


def _locate(error: ErrorDetails, root: Mapping) -> Fault:
    node: Node = root
    path: Path = ()
    key = root.position
    union: Path | None = None
    for part in error["loc"]:
        if isinstance(node, Mapping) and part in node.entries:
            entry = node.entries[str(part)]
            node, key, path = entry.node, entry.key, (*path, part)
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            node, path = node.items[part], (*path, part)
        elif error["type"] == "missing":
            path = (*path, part)
        elif part != "[key]" and union is None:
            # Not a key of the profile: pydantic's name for a member of a union.
            union = path
    is_about_key = error["type"] == "extra_forbidden" or error["loc"][-1:] == ("[key]",)
    return Fault(path, key if is_about_key else node.position, node, error, union)


def _to_problem(fault: Fault, message: str) -> Problem:
    return Problem(*fault.at, format_path(fault.path), message)


def _explain_union(union: Path, faults: list[Fault], shape: Shape) -> Iterator[Problem]:
    # A member that took the value's kind but not the value says more than the others.
    close = [
        fault
        for fault in faults
        if fault.path != union or fault.error["type"] not in {*_KINDS, "literal_error"}
    ]
    if close:
        yield from (_to_problem(fault, _explain(fault, shape)) for fault in close)
        return
    choices = ", or ".join(_kind(fault).removeprefix("must be ") for fault in faults)
    given = describe_value(faults[0].error["input"])
    yield _to_problem(faults[0], f"must be {choices}, not {given}")


def _kind(fault: Fault) -> str:
    if fault.error["type"] == "literal_error":
        return f"must be {_choices(fault)}"
    return _KINDS[fault.error["type"]]


def _explain(fault: Fault, shape: Shape) -> str:
    if fault.error["type"] == "extra_forbidden":
        return _explain_unknown(fault, shape)
    if fault.error["type"] == "missing":
        return _explain_missing(fault, shape)
    message = _explain_value(fault)
    return f"the key {message}" if fault.error["loc"][-1:] == ("[key]",) else message


def _explain_value(fault: Fault) -> str:
    kind, context = fault.error["type"], fault.error.get("ctx", {})
    if kind in _KINDS:
        return f"{_KINDS[kind]}{_contrast(fault)}{_quoting_advice(fault)}"
    if kind in _LIMITS:
        return _LIMITS[kind].format_map({name: _trim(bound) for name, bound in context.items()})
    if kind == "literal_error":
        return f"must be {_choices(fault)}"
    if kind == "string_pattern_mismatch":
        return PATTERN_WORDS[context["pattern"]]
    if kind == "value_error":
        return str(context["error"])
    return "is not valid"


def _contrast(fault: Fault) -> str:
    given = fault.error["input"]
    return "" if isinstance(given, float) else f", not {describe_value(given)}"


def _trim(bound: Any) -> Any:
    """`1.0` as a person writes it: 1."""
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _quoting_advice(fault: Fault) -> str:
    kind, node = fault.error["type"], fault.node
    if not isinstance(node, Scalar) or fault.error["loc"][-1:] == ("[key]",):
        return ""
    if node.value is None:
        return "; give a value, or remove the key"
    if kind == "string_type":
        return "; put it in quotes"
    is_quoted = isinstance(node.value, str) and not node.is_plain
    if is_quoted and ("${" in str(node.value) or not _is_text(str(node.value))):
        return "; remove the quotes"
    return ""


def _is_text(text: str) -> bool:
    return len(text) > 64 or isinstance(parse_scalar(text), str)


def _choices(fault: Fault) -> str:
    """pydantic's `'off' or 'max'` as the profile spells it."""
    expected = str(fault.error.get("ctx", {})["expected"])
    return expected.replace("False", "false").replace("True", "true").replace("'", "`")


def _explain_missing(fault: Fault, shape: Shape) -> str:
    for part in fault.path:
        shape = shape.child(part)
    meaning = shape.description.rstrip(".")
    return f"is required: {meaning[0].lower()}{meaning[1:]}" if meaning else "is required"


def _explain_unknown(fault: Fault, shape: Shape) -> str:
    *parents, key = fault.path
    for part in parents:
        shape = shape.child(part)
    return f"unknown key{suggest(format_key(str(key)), list(shape.fields))}"
