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


class Confidential:
    """Metadata of a field in which references may name secrets: what a file says there is kept
    nowhere, so that it is read again from a file that only its owner can read."""


class HiddenText:
    """Text that lmrun passes on and never shows: a header, a variable. Shown as `***`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself, for whom it is meant."""
        return self._value

    def __repr__(self) -> str:
        return "HiddenText(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HiddenText) and hmac.compare_digest(
            _digest(self._value), _digest(other._value)
        )

    def __hash__(self) -> int:
        return hash(_digest(self._value))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(strict=True, max_length=65_536),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda _: "***"),
        )


def _digest(value: str) -> bytes:
    # A candidate may hold anything that a header held.
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()


def _require_reference(value: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    raise ValueError("a secret must be a reference, ${env:NAME} or ${file:path}, not the value")
