"""Shows problems: the one place for command line and server. It knows no terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lmrun.errors import Problem


def problems_to_text(problems: Iterable[Problem], *, relative_to: Path | None = None) -> str:
    """One line each: `file:line:col: path: message`. Files under `relative_to` are shortened."""
    return "\n".join(_to_line(problem, relative_to) for problem in problems)


def problems_to_json(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """One object each: `file`, `line`, `column` (from 1; 0: the whole file), `path`, `message`."""
    return [asdict(problem) for problem in problems]


def _to_line(problem: Problem, relative_to: Path | None) -> str:
    if relative_to is None or not Path(problem.file).is_relative_to(relative_to):
        return str(problem)
    return str(
        Problem(
            os.path.relpath(problem.file, relative_to),
            problem.line,
            problem.column,
            problem.path,
            problem.message,
        )
    )
