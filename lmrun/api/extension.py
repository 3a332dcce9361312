"""What one dialect adds to the answers of another, so that neither knows the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from lmrun.api.serving import Instance
from lmrun.chat.events import Event


class Addition(Protocol):
    """What is added to one answer, of whatever number of choices."""

    def note(self, event: Event) -> None:
        """An event of any choice has arrived; nothing is written of it yet."""

    def make(self) -> bytes:
        """A JSON object, not empty, whose members join the answer's. All choices have ended."""


@dataclass(frozen=True, slots=True)
class Extension:
    """`begin`: an addition for an answer that this instance is about to give. `members`: the type
    of what it makes. `suffix`: of the names of extended types."""

    begin: Callable[[Instance], Awaitable[Addition]]
    members: type[msgspec.Struct]
    suffix: str

    def extend(self, answer: type[msgspec.Struct], *, is_chunk: bool = False) -> Any:
        """The type of an extended answer; of a stream's chunks only the last has the members."""
        fields: list[Any] = [
            (field.name, field.type | msgspec.UnsetType, msgspec.UNSET)
            if is_chunk
            else (field.name, field.type)
            for field in msgspec.structs.fields(self.members)
        ]
        name = f"{answer.__name__}{self.suffix}"
        return msgspec.defstruct(name, fields, bases=(answer,), kw_only=True, frozen=True)


def join(body: bytes, members: bytes) -> bytes:
    """The JSON object `body` with the members of another one, neither empty."""
    return body[:-1] + b"," + members[1:]
