"""Which texts a regex, choices and grammars let through."""

from __future__ import annotations

import re

import pytest

from tests.engines.llama_cpp.constraints.player import Player

JSON_GBNF = r"""
root   ::= object   # llama.cpp's grammars/json.gbnf, shortened
value  ::= object | array | string | number | ("true" | "false" | "null")
object ::= "{" ( string ":" value ("," string ":" value)* )? "}"
array  ::= "[" ( value ("," value)* )? "]"
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\""
number ::= "-"? ([0-9] | [1-9] [0-9]{0,15}) ("." [0-9]+)?
"""

CASES: list[tuple[str, str, list[str], list[str]]] = [
    ("regex", "[a-c]{2}|é+", ["ab", "é", "ééé"], ["a", "abc", ""]),
    ("regex", "^abc$", ["abc"], ["ab", "abcd"]),
    ("regex", r"/\*[^/]*\*/", ["/**/", "/*x*/"], ["/*/"]),
    ("regex", "(?s:.){3}", ["a\nb", "😀é\r"], ["ab"]),
    ("regex", "a?", ["", "a"], ["aa"]),
    ("gbnf", 'root ::= "a" "b" | "ab" "c"', ["ab", "abc"], ["a", "abcc"]),
    ("gbnf", 'root ::= word "ing"\nword ::= [a-z]+', ["going", "inging"], ["ing", "go"]),
    ("gbnf", 'root ::= "if" "(" | [a-z]+ "="', ["if(", "if=", "iffy="], ["if", "("]),
    ("gbnf", 'root ::= ("x" | y)* y?\ny ::= "yy"', ["", "xyyx", "yy"], ["y"]),
    ("gbnf", 'root ::= "a"{2} "b"{0,1} "c"{2,}', ["aacc", "aabccc"], ["aac", "aabbcc"]),
    ("gbnf", 'root ::= [^"\\n\\]] [-+] .', ["é-\n", "x+😀"], ['"-x', "]-x"]),
    ("gbnf", r'root ::= "\x41\u00e9\U0001F600\t\"\\"', ['Aé😀\t"\\'], ["A"]),
    ("gbnf", r"root ::= [\x41-\x43\u00e9/]+", ["ABC/é"], ["D", "a"]),
    ("gbnf", 'root ::=\n  "a" |\n  # comment "x"\n  ("b"\n "c")\n', ["a", "bc"], ["b"]),
    ("gbnf", 'root ::= a-B_1\na-B_1 ::= "x" ab\nab ::= ""', ["x"], [""]),
    ("gbnf", "root ::= ((a*)*)*\na ::= [ab]", ["", "abba"], ["c"]),
    ("gbnf", 'root ::= "" | "(" root ")"', ["", "(())"], ["(", ")("]),
    ("gbnf", JSON_GBNF, ['{"a":[1,-2.5,{"é\\u00e9":null}]}', "{}"], ["[]", '{"a":01}']),
    ("lark", 'start: A "-" b?\nA: /[a-z]{1,3}/\nb: "x"i', ["ab-", "z-X"], ["abcd-"]),
    ("lark", '// c\nstart: %json {"enum": [1, "a"]} // d', ["1", '"a"'], ["2"]),
    ("lark", 'start: list\nlist: "a" | list "," "a"', ["a", "a,a,a"], ["a,"]),
    ("lark", "start: A\nA: /[a-z]{2}/ & ~/.*x/", ["ab", "xa"], ["ax", "a"]),
    ("lark", "%import common.INT\nstart: INT", ["123"], ["x"]),
    ("lark", '%llguidance {"no_forcing": true}\nstart: "(" /[\\/]+/ ")"', ["(//)"], ["()"]),
]


@pytest.mark.parametrize(("kind", "text", "valid", "invalid"), CASES)
def test_exactly_the_language_is_let_through(
    player: Player, kind: str, text: str, valid: list[str], invalid: list[str]
) -> None:
    field = "regex" if kind == "regex" else "grammar"
    for answer in valid:
        assert player.takes(player.compile(type=kind, **{field: text}), answer), answer
    for answer in invalid:
        assert not player.takes(player.compile(type=kind, **{field: text}), answer), answer


def test_choices_are_taken_to_the_letter(player: Player) -> None:
    choices = ["a", "ab", "é😀", 'q"\\/\n\t\x7f\x00', "<|im_end|>", "|"]
    for choice in choices:
        assert player.takes(player.compile(type="choice", choices=choices), choice)
    for other in ("", "b", "abc", "<|im_start|>"):
        assert not player.takes(player.compile(type="choice", choices=choices), other)


@pytest.mark.parametrize("seed", range(5))
def test_random_answers_are_of_the_language(player: Player, seed: int) -> None:
    regex = "(?:[a-f]{1,3}[.,] ?){2,4}|é+x"
    assert re.fullmatch(regex, player.play(player.compile(type="regex", regex=regex), seed))
    gbnf = 'root ::= [a-c]+ "ing" ("," [a-c]{1,2})*'
    answer = player.play(player.compile(type="gbnf", grammar=gbnf), seed)
    assert re.fullmatch("[a-c]+ing(,[a-c]{1,2})*", answer)
