"""JSON Schema's keywords: which are enforced, which are remarks, which are refused and why.

The enforced ones are those that llguidance turns into a grammar exactly. It knows no schema.
"""

from __future__ import annotations

SCHEMA_KEYWORDS = frozenset({"items", "additionalProperties"})
"""Their value is a schema."""

SCHEMA_LIST_KEYWORDS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
SCHEMA_MAP_KEYWORDS = frozenset({"properties", "patternProperties", "$defs", "definitions"})

COUNT_KEYWORDS = {
    "minLength": 20_000,
    "maxLength": 20_000,
    "minItems": 2000,
    "maxItems": 2000,
    "minProperties": 2000,
    "maxProperties": 2000,
}
"""Keywords whose value is a count, and the largest that is taken: each costs grammar."""

NUMBER_KEYWORDS = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
)

REMARKS = frozenset(
    {
        "title",
        "description",
        "default",
        "example",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "discriminator",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
        "$comment",
        "$schema",
        "$id",
    }
)
"""Keywords that restrict no value: JSON Schema's annotations, and OpenAPI's `example` and
`discriminator`. `$schema` and `$id` are looked at elsewhere."""

HARMLESS_VALUES = {"uniqueItems": False, "nullable": False, "unevaluatedProperties": True}
"""Keywords that cannot be enforced, with the value that changes nothing."""

NOT_ENFORCED = frozenset(
    {
        "not",
        "if",
        "then",
        "else",
        "uniqueItems",
        "contains",
        "minContains",
        "maxContains",
        "propertyNames",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "unevaluatedItems",
        "unevaluatedProperties",
        "$anchor",
        "$dynamicAnchor",
        "$dynamicRef",
        "$recursiveAnchor",
        "$recursiveRef",
        "$vocabulary",
    }
)

HINTS = {
    "additionalItems": "Use `prefixItems` with `items`.",
    "nullable": 'Use `"type": ["string", "null"]`.',
    "$anchor": "Refer by path: `#/$defs/name`.",
    "$dynamicRef": "Refer by path: `#/$defs/name`.",
    "id": "Leave it out.",
}

FORMATS = frozenset(
    {
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "time",
        "uri",
        "uuid",
    }
)

TYPES = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})

DIALECTS = ("2020-12", "2019-09", "draft-07", "draft-06")
"""Parts of the `$schema` addresses whose rules agree in all that is enforced here."""
