"""What cannot be enforced is refused at once, by name and place, and the process lives.

Each of these crashed an engine, took it minutes, or left its output unconstrained (M14 and more).
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.engines.llama_cpp.constraints.player import Player


def nest(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def union(*options: Any) -> dict[str, Any]:
    return {"oneOf": list(options)}


def texts(count: int, **more: Any) -> dict[str, Any]:
    return {f"p{number}": {"type": "string", **more} for number in range(count)}


BAD_SCHEMAS: list[tuple[Any, str, str]] = [
    (False, "nothing satisfies", "#"),
    ({"anyOf": [{"type": "string", "maxLength": n} for n in range(2001)]}, "2000 nodes", "#/anyOf"),
    ({"enum": list(range(10_001))}, "10000 enum values", "#/enum"),
    ({"enum": [[list(range(101))] * 99]}, "10000 enum values", "#/enum"),
    ({"enum": []}, "no value", "#/enum"),
    ({"const": 2**53 + 1}, "2^53", "#/const"),
    ({"type": "strin"}, "`type` must be", "#/type"),
    ({"type": None}, "`type` must be", "#/type"),
    ({"properties": None}, "must be an object", "#/properties"),
    ({"properties": {"a": None}}, "must be an object, true or false", "#/properties/a"),
    ({"items": None}, "must be an object, true or false", "#/items"),
    ({"items": [{}]}, "older draft", "#/items"),
    ({"required": "a"}, "array is needed", "#/required"),
    ({"required": [1]}, "string is needed", "#/required"),
    ({"minLength": -1}, "from 0 to", "#/minLength"),
    ({"minLength": 1.5}, "from 0 to", "#/minLength"),
    ({"maxLength": 10**9}, "from 0 to", "#/maxLength"),
    ({"maxItems": 10**9}, "from 0 to", "#/maxItems"),
    ({"minimum": True}, "number is needed", "#/minimum"),
    ({"minimum": "1"}, "number is needed", "#/minimum"),
    ({"multipleOf": 0}, "over 0", "#/multipleOf"),
    ({"type": "integer", "minimum": 2, "maximum": 1}, "cannot be enforced", ""),
    ({"type": "string", "minLength": 2, "maxLength": 1}, "cannot be enforced", ""),
    ({"type": "object", "required": ["a"], "properties": {"a": False}}, "cannot be enforced", ""),
    ({"pattern": "^+[a-z]$"}, "repeats nothing", "#/pattern, character 2"),
    ({"pattern": "("}, "parenthesis open", "#/pattern"),
    ({"pattern": "a)"}, "not open", "#/pattern"),
    ({"pattern": "["}, "class open", "#/pattern"),
    ({"pattern": "a{2,1}"}, "least is over", "#/pattern"),
    ({"pattern": "a{99999999999}"}, "2000 times", "#/pattern"),
    ({"pattern": "a" * 513}, "513 characters", "#/pattern"),
    ({"pattern": "(" * 21 + "a" + ")" * 21}, "deeper than 20", "#/pattern"),
    ({"pattern": "(?=a)b"}, "looks around", "#/pattern"),
    ({"pattern": "(?<!a)b"}, "looks around", "#/pattern"),
    ({"pattern": "(a)\\1"}, "refers back", "#/pattern"),
    ({"pattern": "\\bword"}, "word boundary", "#/pattern"),
    ({"pattern": "[[a]b]"}, "escape it", "#/pattern"),
    ({"pattern": "[a&&b]"}, "escape it", "#/pattern"),
    ({"pattern": "(?i)a"}, "ECMAScript", "#/pattern"),
    ({"pattern": "\\p{L}"}, "not the same everywhere", "#/pattern"),
    ({"pattern": "a^b"}, "cannot be enforced", ""),
    ({"pattern": 1}, "string is needed", "#/pattern"),
    ({"patternProperties": {"^+": {}}}, "repeats nothing", "#/patternProperties/^+"),
    ({"patternProperties": {"a": {"type": "string"}, "b": {"type": "null"}}}, "disjoint", ""),
    ({"patternProperties": {f"^{n}$": {} for n in range(33)}}, "32 pattern properties", ""),
    ({"allOf": [{"pattern": f"a.{{{n}}}b"} for n in range(24)]}, "meet in one string", "#"),
    ({"type": "object", "minProperties": 1, "properties": texts(300)}, "100 properties", "#"),
    ({"type": "object", "minProperties": 2}, "`minProperties`", "#"),
    (
        {"allOf": [{"type": "integer", "multipleOf": 60_000 + n} for n in range(20)]},
        "`multipleOf` add up",
        "",
    ),
    ({"format": "regex"}, '`format` "regex"', "#/format"),
    ({"$ref": "https://example.com/schema.json"}, "nothing is fetched", "#/$ref"),
    ({"$ref": "file:///etc/passwd"}, "nothing is fetched", "#/$ref"),
    ({"$ref": "#/$defs/none"}, "leads to no schema", "#"),
    ({"$ref": "#/default", "default": {"not": {}}}, "leads to no schema", "#"),
    ({"$ref": "#anchor"}, "cannot be followed", "#/$ref"),
    ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {}}}, "cannot be followed", "#/$ref"),
    ({"$ref": None}, "string is needed", "#/$ref"),
    ({"$ref": "#"}, "back to itself", "#"),
    (
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}}},
        "back to itself",
        "#/$defs/a",
    ),
    (
        {"type": "object", "properties": {"n": {"$ref": "#"}}, "required": ["n"]},
        "without end",
        "#",
    ),
    ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "without end", "#"),
    (union({"type": "string"}, {"maxLength": 3}), "oneOf", ""),
    ({"nullable": True}, "`nullable` is no known keyword", "#"),
    ({"requried": ["a"]}, "`requried` is no known keyword", "#"),
    ({"$schema": "http://json-schema.org/draft-04/schema#"}, "dialect", "#"),
    ({"properties": {"a": {"$id": "x"}}}, "`$id`", "#/properties/a"),
    *(
        ({"properties": {"a": {keyword: {}}}}, f"`{keyword}` cannot be enforced", "#/properties/a")
        for keyword in (
            "not",
            "if",
            "then",
            "else",
            "contains",
            "uniqueItems",
            "propertyNames",
            "dependentRequired",
            "dependentSchemas",
            "dependencies",
            "unevaluatedItems",
            "unevaluatedProperties",
            "$dynamicRef",
            "$anchor",
        )
    ),
]


@pytest.mark.parametrize(("schema", "says", "at"), BAD_SCHEMAS)
def test_a_schema_that_cannot_be_enforced_is_refused(
    tiny_player: Player, schema: Any, says: str, at: str
) -> None:
    error = tiny_player.refusal(type="json", json_schema=schema)
    assert error.param == "structured"
    assert says in str(error)
    assert f"(at {at}" in str(error) or not at


def chain(length: int) -> str:
    rules = (f"r{number} ::= r{number + 1}" for number in range(length))
    return "\n".join(["root ::= r0", *rules, f'r{length} ::= "a"'])


BAD_GBNF = [
    ("root ::= " + "(" * 60_000 + '"a"' + ")" * 60_000, "nested deeper than 200 (at line 1)"),
    ("root ::= " + "(" * 201 + '"a"' + ")" * 201, "nested deeper than 200"),
    (chain(5001), "more than 5000 rules"),
    ("root ::= " + "(a)" * 5001 + '\na ::= "a"', "more than 5000 rules"),
    ('root ::= "' + "a" * 200_000 + '"', "20000 names"),
    ("root ::= " + "|".join(["[a-z]"] * 1001), "1000 alternatives"),
    ('root ::= root "a" | "b"', "begins with itself (at rule root)"),
    ('root ::= x? root "a" | "b"\nx ::= "x"', "begins with itself"),
    ('root ::= a\na ::= b\nb ::= (a | "x") "y"', "begins with itself"),
    ('root ::= "a" root', "never come to an end"),
    ('root ::= "a" b', "`b`, which is no rule (at rule root)"),
    ('start ::= "a"', "no rule `root`"),
    ('root ::= "a"\nroot ::= "b"', "twice (at line 2)"),
    ('root ::= ("a"', "parenthesis open"),
    ('root ::= "a")', "not open"),
    ('root ::= "a', "cannot be read"),
    ("root ::= [a", "cannot be read"),
    ("root ::= []", "empty set"),
    ("root ::= [z-a]", "reversed range"),
    ('root ::= "\\q"', "unknown escape"),
    ('root ::= "\\uD800"', "no character"),
    ('root ::= "\\UFFFFFFFF"', "no character"),
    ("root ::= *", "repeats nothing"),
    ('root ::= "a"**', "repeats twice"),
    ('root ::= "a"{2001}', "2000 times"),
    ('root ::= "a"{3,1}', "least is over"),
    ("root ::= <[0]>", "cannot be read"),
    ("root = 'a'", "must begin with a rule"),
    ("{}", "cannot be read"),
    ("\0", "cannot be read"),
    ("#", "no rule `root`"),
    ('root ::= ((("a"{2000}){2000}){2000}){2000}', "Nothing can satisfy it"),
]

BAD_LARK = [
    ("start: " + "(" * 60_000 + '"a"' + ")" * 60_000, "nested deeper than 200 (at line 1)"),
    ("start: " + "(" * 200 + '"a"' + ")" * 200, "too deeply nested"),
    ("start: a0\n" + "\n".join(f"a{n}: a{n + 1}" for n in range(5001)), "more than 5000 rules"),
    ("start: " + "|".join(['"a"'] * 20_001), "20000 names"),
    ('start: start "a"', "Nothing can satisfy it"),
    ('start: "a" start', "Nothing can satisfy it"),
    ('start: A\nA: "a" A', "circular"),
    ("start: none", "unknown name"),
    ('start: %json {"not": {}}', "`not` cannot be enforced (at #)"),
    ('start: %json {"maxItems": 1000000000}', "`maxItems`"),
    ("start: %json {", "no JSON"),
    ("start: %json " + json.dumps(nest(65)), "nested deeper than 64"),
    ("start: %json " + '{"items":' * 3000, "no JSON"),
    ("start: <|im_end|>", "only text"),
    ("start: <[5]>", "only text"),
    ("start: @other", "only text"),
    ("start: a\na[max_tokens=3]: /a+/", "`max_tokens`"),
    ('start: a\na[stop="x"]: /.*/', "`stop`"),
    ('%llguidance {"allow_invalid_utf8": true}\nstart: "a"', "may set only"),
    ("start: %lark { start: /a/ }", "`%lark`"),
    ("start: /(?=a)b/", "looks around"),
    ("start: /" + "(" * 21 + "a" + ")" * 21 + "/", "deeper than 20"),
    ("start: A\nA: " + " & ".join(f"/(?s:.)*a.{{{n}}}b/" for n in range(24)), "`&` and `~`"),
    ("start: /(a{1000}){1000}/", "repeats repetitions"),
    ("start: (", "bracket open"),
    ("start: )", "not open"),
    ("\0\1", "cannot be enforced"),
]


@pytest.mark.parametrize(
    ("kind", "grammar", "says"),
    [("gbnf", *case) for case in BAD_GBNF] + [("lark", *case) for case in BAD_LARK],
)
def test_a_grammar_that_cannot_be_enforced_is_refused(
    tiny_player: Player, kind: str, grammar: str, says: str
) -> None:
    error = tiny_player.refusal(type=kind, grammar=grammar)
    assert str(error.param).partition(".")[0] == "structured"
    assert says in str(error)
    assert ".." not in error.message


@pytest.mark.parametrize(
    ("regex", "says"),
    [
        ("(", "parenthesis open"),
        ("(?!a)b", "looks around"),
        ("(a)\\1", "refers back"),
        ("a{2001}", "2000 times"),
        ("((a{100}b){100}|c){100}", "repeats repetitions"),
        ("(" * 21 + "a" + ")" * 21, "deeper than 20"),
        ("a^b", "cannot be enforced"),
        ("\\p{Nonsense}", "cannot be enforced"),
        ("a/b\\", "cannot be enforced"),
    ],
)
def test_a_regex_that_cannot_be_enforced_is_refused(
    tiny_player: Player, regex: str, says: str
) -> None:
    assert says in str(tiny_player.refusal(type="regex", regex=regex))


def test_the_largest_that_is_accepted_compiles(tiny_player: Player) -> None:
    """At their limits: depth, nodes, enum values, a chain of `$ref` that needs a deep stack."""
    chained = {f"d{n}": {"properties": {"x": {"$ref": f"#/$defs/d{n + 1}"}}} for n in range(990)}
    schemas: list[Any] = [
        nest(31),
        {"enum": list(range(10_000))},
        {"$ref": "#/$defs/d0", "$defs": {**chained, "d990": {"type": "string"}}},
        {"type": "object", "properties": texts(1990, maxLength=5)},
    ]
    for schema in schemas:
        tiny_player.compile(type="json", json_schema=schema)
    tiny_player.compile(type="gbnf", grammar=chain(4990))
    tiny_player.compile(type="gbnf", grammar="root ::= " + "(" * 200 + '"a"' + ")" * 200)
    tiny_player.compile(type="choice", choices=[f"choice {n}" for n in range(10_000)])
