"""How a dialect writes its errors: OpenAI's way unless a route says otherwise. It knows no path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lmrun.api.errors import TABLE, ErrorBody, ErrorEnvelope, to_json
from lmrun.errors import LmrunError


@dataclass(frozen=True, slots=True)
class Envelope:
    """`write`: the JSON of an error, given its status and the request's id; `type`: the type of
    that JSON. `statuses`: where they differ from the table's, for descendants, too.
    `id_header`: a further header in which the dialect's clients look for the request's id.
    """

    type: Any
    write: Callable[[ErrorBody, int, str], bytes]
    statuses: Mapping[type[LmrunError], int] = field(default_factory=dict)
    id_header: str | None = None

    def to_status(self, kind: type[LmrunError]) -> int:
        """Of the class, or of its nearest ancestor that has one."""
        for ancestor in kind.__mro__:
            if ancestor in self.statuses:
                return self.statuses[ancestor]
            if ancestor in TABLE:
                return TABLE[ancestor].status
        raise AssertionError("the table has a row for the root")


def _write_openai(body: ErrorBody, status: int, request_id: str) -> bytes:
    return to_json(body)


OPENAI = Envelope(ErrorEnvelope, _write_openai)
