"""A script's text is typed and strict: what is wrong is said before anything is played."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lmrun.engines.scripted.script import parse_script, read_script
from lmrun.errors import ModelInvalid

PATH = Path("some.scripted.json")
HELLO: dict[str, Any] = {"pieces": ["Hello"]}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b'{"replies": []}',
        b'{"replies": [{}]}',
        b'{"replies": [{"pieces": "Hello"}]}',
        b'{"replies": [{"pieces": [1]}]}',
        b'{"replies": [{"pieces": [{"hex": "c"}]}]}',
        b'{"replies": [{"pieces": [{"hex": "zz"}]}]}',
        b'{"replies": [{"pieces": ["\xff"]}]}',
        b"\xff\xfe",
    ],
)
def test_text_that_is_no_script_is_refused(text: bytes) -> None:
    with pytest.raises(ModelInvalid, match=r"some\.scripted\.json"):
        parse_script(text, PATH)


@pytest.mark.parametrize(
    ("script", "named"),
    [
        ({"replies": [HELLO], "contextlength": 8}, "contextlength"),
        ({"replies": [HELLO], "context_length": 7}, "context_length"),
        ({"replies": [HELLO], "context_length": "8"}, "context_length"),
        ({"replies": [HELLO], "step_seconds": -1}, "step_seconds"),
        ({"replies": [HELLO], "prompt_tokens_per_step": 0}, "prompt_tokens_per_step"),
        ({"replies": [HELLO], "load": {"memory_bytes": -1}}, "memory_bytes"),
        ({"replies": [HELLO], "load": {"crash": {}}}, "signal"),
        ({"replies": [HELLO], "load": {"crash": {"signal": 9, "exit_code": 1}}}, "signal"),
        ({"replies": [HELLO], "load": {"refuse": {"param": "load.gpu"}}}, "message"),
        ({"replies": [HELLO | {"match": "("}]}, "match"),
        ({"replies": [HELLO | {"repeat": -1}]}, "repeat"),
        ({"replies": [HELLO | {"finish": "stop"}]}, "finish"),
        ({"replies": [HELLO | {"crash": {"signal": 9}}]}, "after"),
        ({"replies": [HELLO | {"crash": {"after": 1}}]}, "signal"),
        ({"replies": [HELLO | {"crash": {"after": 1, "signal": 65}}]}, "signal"),
        ({"replies": [HELLO | {"fail": {"after": -1}}]}, "after"),
        ({"replies": [HELLO | {"hang": {"seconds": 1}}]}, "after"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(script: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelInvalid, match=named):
        parse_script(json.dumps(script).encode(), PATH)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="cannot be read"):
        read_script(tmp_path / "none.scripted.json")


@pytest.mark.parametrize(
    ("prompt", "expected"), [("say cat", 0), ("a dog\nand a cat", 0), ("a dog", 1), ("else", 2)]
)
def test_the_first_reply_that_fits_is_said_else_the_last(prompt: str, expected: int) -> None:
    replies = [HELLO | {"match": "cat"}, HELLO | {"match": "^a dog"}, HELLO | {"match": "never"}]
    script = parse_script(json.dumps({"replies": replies}).encode(), PATH)
    assert script.choose_reply(prompt) == expected
