"""Secrets: values that never show themselves. It does not know where they come from."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

REFERENCE_PATTERN = r"^\$\{(env:[A-Za-z_][A-Za-z0-9_]*|file:[^}]+)\}$"


class Secret:
    """A resolved secret: shown as `***`, compared in constant time, not serialisable.

    The profile's loader makes it out of a `${env:NAME}` or `${file:path}` reference; a literal
    value in the profile is refused.
    """

    __slots__ = ("_digest", "length")

    def __init__(self, value: str) -> None:
        self._digest = _digest(value)
        self.length = len(value)
        """Characters of the value, to refuse short keys where they would be guessed."""

    def matches(self, candidate: str) -> bool:
        """Whether `candidate` is the value, compared in constant time."""
        return hmac.compare_digest(self._digest, _digest(candidate))

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._digest, other._digest)

    def __hash__(self) -> int:
        return hash(self._digest)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _require_reference,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda _: "***"),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "type": "string",
            "pattern": REFERENCE_PATTERN,
            "description": "A reference: ${env:NAME} or ${file:path}. Never the value itself.",
            "writeOnly": True,
        }


def _digest(value: str) -> bytes:
    # A candidate may hold anything that a header held.
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()


def _require_reference(value: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    raise ValueError("a secret must be a reference, ${env:NAME} or ${file:path}, not the value")
