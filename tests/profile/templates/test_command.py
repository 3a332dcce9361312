"""Command lines with holes: whatever an argument says, it stays within its element."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.errors import ToolInvalid
from lmrun.profile.tooling.templates.command import MAX_ELEMENT_BYTES, CommandTemplate
from lmrun.profile.tooling.templates.text import ArgumentRefused


def fill(*command: str, **arguments: Any) -> list[str]:
    return CommandTemplate(command).fill(arguments)


@pytest.mark.parametrize(
    "value",
    ["a b", "; touch x", "$(id)", "`id`", "a\nb", "'\"\\", "{x}", "{{y}}", "*", "", "\t", "日本"],
)
def test_an_argument_is_one_element_as_it_is(value: str) -> None:
    assert fill("du", "-sh", "{x}", x=value) == ["du", "-sh", value]
    assert fill("du", "--at={x}!", x=value) == ["du", f"--at={value}!"]


def test_all_but_text_is_json() -> None:
    values = {"a": True, "b": 12, "c": 1.5, "d": [1, "é"], "e": {"k": None}}
    assert fill("p", *(f"{{{name}}}" for name in values), **values) == [
        *("p", "true", "12", "1.5", '[1,"é"]', '{"k":null}')
    ]


def test_braces_are_written_twice() -> None:
    assert fill("awk", "{{print $1}}", "{x}", x="f") == ["awk", "{print $1}", "f"]
    assert fill("p", "{{{x}}}", x="f") == ["p", "{f}"]


def test_an_element_whose_argument_is_left_out_is_left_out() -> None:
    command = ("grep", "--max={n}", "--in={a}/{b}", "{x}")
    assert fill(*command, x="q") == ["grep", "q"]
    assert fill(*command, x="q", n=3, a="1") == ["grep", "--max=3", "q"]
    assert fill(*command, x="q", n=None, a="1", b="2") == ["grep", "--in=1/2", "q"]


@pytest.mark.parametrize("value", ["-rf", "-oProxyCommand=id", "--upload-pack=id", "-", -5])
def test_an_argument_is_never_an_option(value: Any) -> None:
    with pytest.raises(ArgumentRefused, match="`x` begins with `-`"):
        fill("rm", "{x}", x=value)
    with pytest.raises(ArgumentRefused, match="begins with `-`"):
        fill("rm", "{y}{x}", x=value, y="")
    assert fill("rm", "--", "{x}", x=value) == ["rm", "--", str(value)]
    assert fill("rm", "--at={x}", x=value) == ["rm", f"--at={value}"]


def test_only_the_profile_s_own_dashes_end_the_options() -> None:
    with pytest.raises(ArgumentRefused, match="begins with `-`"):
        fill("rm", "{x}", "{y}", x="--", y="-rf")
    with pytest.raises(ArgumentRefused, match="`y` begins with `-`"):
        fill("rm", "{y}", "--", "{x}", x="-a", y="-rf")


def test_what_no_program_can_be_given_is_refused() -> None:
    with pytest.raises(ArgumentRefused, match="NUL"):
        fill("p", "{x}", x="a\0b")
    with pytest.raises(ArgumentRefused, match="surrogate"):
        fill("p", "{x}", x="a\udc80b")
    with pytest.raises(ArgumentRefused, match="surrogate"):
        fill("p", "{x}", x=["\ud800"])
    assert fill("p", "{x}", x="é" * (MAX_ELEMENT_BYTES // 2))
    with pytest.raises(ArgumentRefused, match="`x` is longer than 131071 bytes"):
        fill("p", "a{x}", x="é" * (MAX_ELEMENT_BYTES // 2) + "x")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["{x}", "a"], "`command[0]`: this is the program, which no argument may choose. Write"),
        (["sh{x}"], "`command[0]`: this is the program"),
        (["p", "{x"], "`command[1]`: a brace stands alone, at character 1"),
        (["p", "a}"], "`command[1]`: a brace stands alone, at character 2"),
        (["p", "{a b}"], "`command[1]`: a brace stands alone"),
        (["p", "{}"], "`command[1]`: a brace stands alone"),
        (["sh", "-c", "ls {x}"], "`command[2]`: this is a script, and `{x}` in it"),
        (["/bin/bash", "-euc", "{x}"], "is a script"),
        (["env", "A=1", "sh", "-c", "{x}"], "is a script"),
        (["sudo", "-u", "bob", "bash", "-lc", "{x}"], "is a script"),
        (["python3.11", "-c{x}"], "is a script"),
        (["perl", "-ne", "{x}"], "is a script"),
        (["node", "--eval", "{x}"], "is a script"),
    ],
)
def test_a_template_in_which_nothing_is_safe_is_refused(command: list[str], message: str) -> None:
    with pytest.raises(ToolInvalid) as caught:
        CommandTemplate(command)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "command",
    [
        ["sh", "-c", 'ls -- "$1"', "sh", "{x}"],
        ["python3", "tool.py", "-c", "{x}"],
        ["grep", "-e", "{x}"],
        ["sh", "script.sh", "{x}"],
    ],
)
def test_an_argument_of_a_script_is_none_of_its_text(command: list[str]) -> None:
    assert CommandTemplate(command).names == {"x"}
