"""Random arguments against a real command: it sees them to the letter, or they are refused; none
is ever understood by anybody on the way. `LMRUN_FUZZ_COMMANDS`: how many."""

from __future__ import annotations

import asyncio
import json
import os
import random
from pathlib import Path
from typing import Any

from lmrun.profile.tooling.templates.command import MAX_ELEMENT_BYTES
from lmrun.tools.arguments import ArgumentFault, check_arguments
from tests.tools.commands.support import make, texts

CALLS = int(os.environ.get("LMRUN_FUZZ_COMMANDS", "200"))

ECHO = 'printf "%s\\0" "$@" > seen\n'

PIECES = (
    *("; touch {s}", "$(touch {s})", "`touch {s}`", "| touch {s}", "&& touch {s}", "\ntouch {s}\n"),
    *("' ; touch {s} '", '" ; touch {s} "', "${{IFS}}touch${{IFS}}{s}", "<(touch {s})", "> {s}"),
    *("-oProxyCommand=touch {s}", "--upload-pack=touch {s}", "-rf", "--", "-", "-e", "--help"),
    *("\n", "\r\n", "\t", "\0", "\x1b[31m", "\x7f", "\u202e", "\u200b", "\ufeff", "\\", "\\0"),
    *(
        "{{a}}",
        "{{",
        "}}",
        "%s%n",
        "~",
        "*",
        "?",
        "[a-z]",
        "$HOME",
        "!!",
        "#",
        "=",
        "é",
        "日本",
        "🎉",
    ),
    *("\ud800", "\udcff", "x" * 1000, "x" * MAX_ELEMENT_BYTES, "x" * 2**20, "", " ", "a"),
)


def make_value(chance: random.Random, sentinel: Path) -> str:
    pieces = chance.choices(PIECES, k=chance.choice((1, 1, 1, 2, 3, 5)))
    return "".join(piece.format(s=sentinel) for piece in pieces)


def is_fit(a: str, b: str, c: str) -> bool:
    """Whether the command line `[…, {a}, --b={b}, --, {c}]` can be had with these."""
    every = a + b + c
    if "\0" in every or any("\ud800" <= character <= "\udfff" for character in every):
        return False
    lengths = (len(a.encode()), len(b.encode()) + len("--b="), len(c.encode()))
    return max(lengths) <= MAX_ELEMENT_BYTES and not a.startswith("-")


def test_random_arguments_are_seen_to_the_letter_or_refused(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "echo.sh").write_text(ECHO)
    sentinel = tmp_path / "sentinel"
    tool = make(folder, "sh", "echo.sh", "{a}", "--b={b}", "--", "{c}", parameters=texts(*"abc"))
    chance = random.Random(20261129)
    counts = {"seen": 0, "refused": 0}

    async def call(values: dict[str, str]) -> None:
        """As a model's call goes: text, checked, called."""
        seen = folder / "seen"
        seen.unlink(missing_ok=True)
        arguments = check_arguments(json.dumps(values), tool.spec.parameters)
        error: Any = "invalid_arguments"
        if not isinstance(arguments, ArgumentFault):
            error = (await tool.call(arguments, lambda progress: None)).error
        assert not sentinel.exists(), values
        size = len(json.dumps(values))
        if size <= 200 * 2**10 and is_fit(**values):
            assert error is None, (values, error)
            given = [values["a"], f"--b={values['b']}", "--", values["c"]]
            assert seen.read_bytes() == "".join(f"{it}\0" for it in given).encode()
            counts["seen"] += 1
        elif error is not None:
            assert error == "invalid_arguments"
            assert not seen.exists()
            counts["refused"] += 1
        else:
            assert is_fit(**values), values

    async def body() -> None:
        for _ in range(CALLS):
            await call({name: make_value(chance, sentinel) for name in "abc"})

    asyncio.run(body())
    assert min(counts.values()) > CALLS // 5, counts
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work"]
    assert {path.name for path in folder.iterdir()} <= {"echo.sh", "seen"}
