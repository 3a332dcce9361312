"""The source of a template is foreign text: looked at in time that grows with its length only."""

from __future__ import annotations

import pytest

from lmrun.chat.language import read_language
from lmrun.chat.template_source import find_variables, read_code

SIZE = 250_000
"""Bytes; about the longest template that is rendered."""

HOSTILE = {
    "openings": "{{",
    "openings with a quote": "{{ '",
    "comments": "{#",
    "escaped quotes": "{{ '" + "\\'" * 1000,
    "mixed quotes": "{{ '\"",
    "marks": "<think",
}
LONG = {
    "spaces": "{% set " + " " * SIZE + "x %}",
    "loop variables": "{% for " + "a " * (SIZE // 2) + "%}",
    "brackets": "{% macro f(" + ") " * (SIZE // 2) + "%}",
    "tests": "{{ " + "a is " * (SIZE // 5) + "}}",
    "one name": "{{ " + "a" * SIZE + " }}",
}


@pytest.mark.timeout(20)  # quadratic, each would take minutes
@pytest.mark.parametrize("name", [*HOSTILE, *LONG])
def test_no_template_keeps_the_reader_busy(name: str) -> None:
    source = LONG.get(name) or HOSTILE[name] * (SIZE // len(HOSTILE[name]))
    read_language(source)


def test_code_is_read_without_its_strings_and_comments() -> None:
    source = "a {# {{ b }} #} {{ c['}}'] }} {%- if d == \"%}\" -%} e {{ f }"
    assert read_code(source) == ["c['']", "- if d == '' -"]


def test_an_open_block_hides_nothing_that_came_before() -> None:
    assert find_variables("{{ thinking }} {{ 'open") == {"thinking"}
