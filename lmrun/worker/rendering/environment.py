"""The sandbox that a model's chat template runs in: that of Hugging Face's transformers 5, with
bounds on what one operator may make.

Templates are written against `apply_chat_template` there, so its options, filters and globals are
the ones here. It does not know what a template is given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MAX_SOURCE_BYTES = 256 * 1000
MAX_REPEATED = 4 * 1000 * 1000
MAX_POWER_BITS = 4096


def compile_template(source: str) -> Template:
    """The template of `source`. Raises jinja2.TemplateError when it is none or too long."""
    size = len(source.encode())
    if size > MAX_SOURCE_BYTES:
        raise TemplateError(f"its source has {size} bytes, the limit is {MAX_SOURCE_BYTES}")
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    environment.globals["dict"] = _Dict()
    environment.globals["namespace"] = _Namespace
    return environment.from_string(source)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """The operator's result. Raises SecurityError for one that would be enormous."""
        if operator == "*":
            _check_repetition(left, right)
            _check_repetition(right, left)
        else:
            _check_power(left, right)
        return super().call_binop(context, operator, left, right)


def _check_repetition(repeated: Any, times: Any) -> None:
    is_sized = isinstance(repeated, str | list | tuple)
    if is_sized and isinstance(times, int) and len(repeated) * times > MAX_REPEATED:
        raise SecurityError(f"a repetition makes more than {MAX_REPEATED} elements")


def _check_power(base: Any, exponent: Any) -> None:
    if isinstance(base, int) and isinstance(exponent, int):
        bits = base.bit_length() * max(exponent, 0)
        if bits > MAX_POWER_BITS:
            raise SecurityError(f"a power has more than {MAX_POWER_BITS} bits")


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}`, with which training marks what the model says: what
    stands inside is shown, with a scope of its own."""

    tags = {"generation"}  # noqa: RUF012  jinja's own attribute

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_show"), [], [], body).set_lineno(line)

    def _show(self, caller: Callable[[], str]) -> str:
        return caller()


class _Dict:
    """Jinja's `dict` is the class itself; a template needs only what it makes."""

    def __call__(self, *arguments: Any, **fields: Any) -> dict[Any, Any]:
        return dict(*arguments, **fields)

    def fromkeys(self, keys: Iterable[Any], value: Any = None) -> dict[Any, Any]:
        """As in Python."""
        return dict.fromkeys(keys, value)


class _Namespace(Namespace):
    """Jinja's `namespace` without names that begin with an underscore: Python's own do."""

    def __init__(*arguments: Any, **fields: Any) -> None:
        # Not `self`: a template may have a field of that name.
        itself, *given = arguments
        values = dict(*given, **fields)
        for name in values:
            _check_name(name)
        Namespace.__init__(itself, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace has no field {name!r}: it begins with an underscore")


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter would escape HTML characters."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: object) -> None:
    raise TemplateError(str(message))


def _strftime_now(text: str) -> str:
    return datetime.now().strftime(text)
