"""What a tool says of itself: every character counts, and none stays hidden."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.tools.mcp.pins.definitions import (
    digest_of,
    find_difference,
    find_hidden,
    reveal,
    show_definition,
)

DEFINITION: dict[str, Any] = {
    "name": "send",
    "description": "Send a mail.\nTo one address.",
    "inputSchema": {
        "type": "object",
        "properties": {"to": {"type": "string", "description": "Whom."}},
        "required": ["to"],
    },
    "annotations": {"readOnlyHint": False},
}


def test_the_order_of_keys_means_nothing() -> None:
    turned = dict(reversed(DEFINITION.items()))
    turned["inputSchema"] = dict(reversed(DEFINITION["inputSchema"].items()))
    assert digest_of(turned) == digest_of(DEFINITION)


@pytest.mark.parametrize(
    "change",
    [
        {"description": "Send a mail.\nTo one address"},
        {"description": "Send a mail.\n\u200bTo one address."},
        {"name": "Send"},
        {"annotations": {"readOnlyHint": True}},
        {"annotations": {}},
        {"outputSchema": {"type": "object"}},
        {"inputSchema": {**DEFINITION["inputSchema"], "required": []}},
        {"inputSchema": {**DEFINITION["inputSchema"], "required": ["to", "bcc"]}},
        {"inputSchema": {**DEFINITION["inputSchema"], "maxProperties": 1.0}},
    ],
)
def test_every_other_change_is_another_hash_and_shows_in_the_difference(
    change: dict[str, Any],
) -> None:
    changed = {**DEFINITION, **change}
    assert digest_of(changed) != digest_of(DEFINITION)
    lines = find_difference(DEFINITION, changed)
    assert any(line[:1] in "+-" for line in lines) or "name" in change
    assert find_difference(DEFINITION, DEFINITION) == ()


def test_true_is_not_one_and_a_number_is_not_its_text() -> None:
    values: list[Any] = [True, 1, "1", 1.0, None, [], {}]
    assert len({digest_of({"default": value}) for value in values}) == len(values)


@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("\u200b", "U+200B ZERO WIDTH SPACE"),
        ("\u200d", "U+200D ZERO WIDTH JOINER"),
        ("\ufeff", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("\u202e", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("\u2066", "U+2066 LEFT-TO-RIGHT ISOLATE"),
        ("\u00ad", "U+00AD SOFT HYPHEN"),
        ("\u3164", "U+3164 HANGUL FILLER"),
        ("\ufe0f", "U+FE0F VARIATION SELECTOR-16"),
        ("\U000e0041", "U+E0041 TAG LATIN CAPITAL LETTER A"),
        ("\U000e0101", "U+E0101 VARIATION SELECTOR-18"),
        ("\x1b", "U+001B (no name)"),
        ("\ud800", "U+D800 (no name)"),
    ],
)
def test_characters_that_nobody_sees_are_named_wherever_they_are(character: str, name: str) -> None:
    shown = (f"<U+{ord(character):04X}>", f"\\u{ord(character):04x}")
    places: tuple[dict[str, Any], ...] = (
        {"description": f"a{character}b"},
        {"inputSchema": {"properties": {f"a{character}": {}}}},
        {"inputSchema": {"properties": {"a": {"enum": ["x", f"{character}{character}"]}}}},
    )
    for hidden in places:
        definition = {**DEFINITION, **hidden}
        assert find_hidden(definition) == (name,)
        text = show_definition(definition)
        assert any(it in text for it in shown)
        assert character not in text
        digest_of(definition)


def test_what_everybody_sees_is_left_alone() -> None:
    text = "Grüße, 日本語, العربية, é\u0301, “quotes” — and\ttabs\n"
    assert find_hidden({"description": text}) == ()
    assert reveal(text) == text
