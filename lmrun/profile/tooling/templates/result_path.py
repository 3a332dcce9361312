"""Where in a JSON answer the result is: `data.items[0].name`. Pure; it knows no answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from lmrun.errors import ToolInvalid

MAX_NAMES_SHOWN = 20

_STEP = re.compile(r"(?:(?P<name>\.?[^.\[\]]+)|\[(?P<index>-?[0-9]{1,9})\])")


class LeadsNowhere(LookupError):
    """The answer has nothing there. The message says where it ends and what there is."""


@dataclass(frozen=True, slots=True)
class ResultPath:
    """Names of fields, and places in lists; negative ones count from the end."""

    steps: tuple[str | int, ...]

    @classmethod
    def parse(cls, path: str) -> ResultPath:
        """Raises ToolInvalid."""
        steps: list[str | int] = []
        end = 0
        for found in _STEP.finditer(path):
            name = found["name"]
            is_first = end == 0
            if found.start() != end or (name and name.startswith(".") == is_first):
                break
            steps.append(name.removeprefix(".") if name else int(found["index"]))
            end = found.end()
        if end != len(path) or not steps:
            raise ToolInvalid(
                f"this path cannot be read, from character {end + 1} on",
                place=("result",),
                hint="Write names and places like `data.items[0].name`.",
            )
        return cls(tuple(steps))

    def find(self, value: Any) -> Any:
        """Raises LeadsNowhere."""
        here = ""
        for step in self.steps:
            if isinstance(step, int):
                if not isinstance(value, list):
                    raise LeadsNowhere(f"{_place(here)} is {_kind(value)}, not a list")
                if not -len(value) <= step < len(value):
                    raise LeadsNowhere(f"{_place(here)} has {len(value)} items, so no [{step}]")
                here += f"[{step}]"
            else:
                if not isinstance(value, dict):
                    raise LeadsNowhere(f"{_place(here)} is {_kind(value)}, not an object")
                if step not in value:
                    raise LeadsNowhere(f"{_place(here)} has no {step!r}; it has {_names(value)}")
                here += f".{step}" if here else step
            value = value[step]
        return value


def _place(here: str) -> str:
    return f"`{here}`" if here else "the answer"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return kinds.get(type(value), "a number")


def _names(value: dict[str, Any]) -> str:
    names = [repr(name[:60]) for name in list(value)[:MAX_NAMES_SHOWN]]
    more = len(value) - len(names)
    return (", ".join(names) + (f" and {more} more" if more else "")) or "nothing"
