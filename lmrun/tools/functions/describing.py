"""A function of Python as a tool: its parameters as a JSON schema, arguments as its types, its
result as text. It knows no process; the function may do anything."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from lmrun.tools.functions.docstrings import read_docstring

DONE = "Done."
"""What a model reads of a function that returns nothing."""

_UNFIT = {
    inspect.Parameter.POSITIONAL_ONLY: "can only be given by its place",
    inspect.Parameter.VAR_POSITIONAL: "takes any number of values",
    inspect.Parameter.VAR_KEYWORD: "takes any names",
}


class FunctionUnfit(Exception):
    """It cannot be a tool; the message says why, and what would be right."""


class ArgumentsUnfit(Exception):
    """The function cannot be called with them; the message is for the model."""


class ResultUnfit(Exception):
    """It returned what no model can read."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function that can be called as a tool. `parameters`: a JSON schema."""

    function: Callable[..., Any]
    description: str | None
    parameters: dict[str, Any]
    _adapters: Mapping[str, TypeAdapter[Any]]

    @classmethod
    def of(cls, name: str, function: Any) -> Function:
        """Raises FunctionUnfit."""
        try:
            signature = inspect.signature(function)
            hints = typing.get_type_hints(function, include_extras=True)
        except (TypeError, ValueError) as error:
            raise FunctionUnfit(
                f"`{name}` is no function that can be looked into: {error}"
            ) from None
        except Exception as error:  # annotations are code
            raise FunctionUnfit(
                f"the annotations of `{name}` cannot be read: {type(error).__name__}: {error}"
            ) from None
        for parameter in signature.parameters.values():
            if parameter.kind in _UNFIT:
                raise FunctionUnfit(
                    f"`{name}`: the parameter `{parameter.name}` {_UNFIT[parameter.kind]}; a model "
                    "gives arguments by their names, so declare each of them"
                )
        adapters = {
            key: _make_adapter(name, key, hints.get(key, Any)) for key in signature.parameters
        }
        said = read_docstring(inspect.getdoc(function), signature.parameters)
        schema = _make_schema(name, signature, adapters)
        for key, text in said.parameters.items():
            # What stands at the annotation was written for the model.
            schema["properties"][key].setdefault("description", text)
        return cls(function, said.text or None, schema, adapters)

    def read_arguments(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """`arguments`, which are JSON, as the function's types. Raises ArgumentsUnfit."""
        unknown = [name for name in arguments if name not in self._adapters]
        if unknown:
            raise ArgumentsUnfit(f"`{unknown[0]}` is no parameter.")
        read: dict[str, Any] = {}
        faults: list[str] = []
        for name, value in arguments.items():
            try:
                read[name] = self._adapters[name].validate_json(json.dumps(value))
            except ValidationError as error:
                faults += [_explain(name, each) for each in error.errors(include_url=False)]
        if faults:
            raise ArgumentsUnfit("\n".join(faults[:5]))
        return read


def to_text(result: Any) -> str:
    """A result as a model reads it: text as it is, nothing as DONE, all else as JSON. Raises
    ResultUnfit."""
    if result is None:
        return DONE
    if isinstance(result, str):
        return str(result)
    try:
        plain = to_jsonable_python(result)
        # A date or a path is text, too, without quotes around it.
        return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    except (PydanticSerializationError, ValueError, RecursionError, TypeError) as error:
        raise ResultUnfit(
            f"it returned a {type(result).__name__}, which cannot be written as JSON: {error}"
        ) from None


def _make_adapter(function: str, parameter: str, annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation)
    except PydanticUserError as error:
        reason = error.message.splitlines()[0]
        raise FunctionUnfit(
            f"`{function}`: no JSON is a `{annotation}`, the type of `{parameter}`: {reason}"
        ) from None


def _make_schema(
    function: str, signature: inspect.Signature, adapters: Mapping[str, TypeAdapter[Any]]
) -> dict[str, Any]:
    inputs = [(name, "validation", adapter) for name, adapter in adapters.items()]
    try:
        found, shared = TypeAdapter.json_schemas(inputs)  # type: ignore[arg-type]
    except PydanticUserError as error:
        reason = error.message.splitlines()[0]
        raise FunctionUnfit(f"`{function}`: its types have no JSON schema: {reason}") from None
    properties = {name: dict(found[name, "validation"]) for name in adapters}
    for name, parameter in signature.parameters.items():
        if parameter.default is not parameter.empty:
            _add_default(properties[name], parameter.default)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": [name for name, it in signature.parameters.items() if it.default is it.empty],
        "additionalProperties": False,
    }
    definitions = shared.get("$defs")
    return schema | ({"$defs": definitions} if definitions else {})


def _add_default(schema: dict[str, Any], default: Any) -> None:
    """Where it can be written down, and says something."""
    if default is None:
        return
    try:
        schema.setdefault("default", to_jsonable_python(default))
    except (PydanticSerializationError, ValueError, RecursionError):
        return


def _explain(name: str, error: Any) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    return f"`{name}{path}`: {error['msg']}."
