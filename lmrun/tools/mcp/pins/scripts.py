"""Which arguments of a command are programs themselves: the file that an interpreter runs, and
files that look like program text. It hashes none of them."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from lmrun.errors import McpUnreachable

MAX_SCRIPTS = 16
MAX_SCRIPT_BYTES = 64 * 2**20

_INTERPRETER = re.compile(
    r"(ba|da|z|k|mk|c|tc|fi|a)?sh|busybox|(python|pypy|perl|ruby|php|lua)[0-9.]*|node|nodejs|bun"
)
_PROGRAM_TEXT = re.compile(
    r".*\.(py|pyz|js|mjs|cjs|ts|mts|cts|jsx|tsx|sh|bash|zsh|fish|rb|pl|php|lua|jar|dll|wasm)",
    re.IGNORECASE | re.DOTALL,
)


def find_scripts(argv: Sequence[str], program: str, directory: Path) -> dict[int, Path]:
    """By their place in `argv`. `program`: the file name of what is started; `directory`: where.

    Data is none of them: to a database that a server writes to, somebody would have to agree each
    time. Raises McpUnreachable for more than MAX_SCRIPTS, and for one that is larger than
    MAX_SCRIPT_BYTES.
    """
    found: dict[int, Path] = {}
    is_script_next = _is_interpreter(program) or _is_interpreter(argv[0])
    for place, element in enumerate(argv[1:], 1):
        file = _find_file(element, directory)
        if file is not None and (is_script_next or _is_program(file)):
            found[place] = file
        if not element.startswith("-"):
            is_script_next = file is None and _is_interpreter(element)
    if len(found) > MAX_SCRIPTS:
        raise McpUnreachable(f"Its command names more than {MAX_SCRIPTS} scripts.")
    for place, file in found.items():
        _require_size(place, file)
    return found


def _is_interpreter(name: str) -> bool:
    return _INTERPRETER.fullmatch(os.path.basename(name)) is not None


def _find_file(element: str, directory: Path) -> Path | None:
    """The regular file that an argument names."""
    try:
        file = (directory / element).resolve()
        return file if stat.S_ISREG(file.stat().st_mode) else None
    except (OSError, ValueError, RuntimeError):
        return None


def _is_program(file: Path) -> bool:
    if _PROGRAM_TEXT.fullmatch(file.name) or os.access(file, os.X_OK):
        return True
    try:
        with open(file, "rb") as content:
            return content.read(2) == b"#!"
    except OSError:
        return False


def _require_size(place: int, file: Path) -> None:
    try:
        size = file.stat().st_size
    except OSError as error:
        raise McpUnreachable(f"{file}: {error.strerror}.") from error
    if size > MAX_SCRIPT_BYTES:
        raise McpUnreachable(
            f"`command[{place}]` is a script of more than {MAX_SCRIPT_BYTES >> 20} MiB, which is "
            "more than is hashed.",
            hint="Have the command start a smaller one that runs it.",
        )
