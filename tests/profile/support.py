"""Profiles held in memory, for tests of the loader. It knows no disk and no server."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

from lmrun.errors import Problem, ProfileInvalid
from lmrun.profile.loader import LoadedProfile, load_profile

FOLDER = Path("/profiles")
ROOT = FOLDER / "main.yaml"


class Texts:
    """A `read` for the loader: `files` by their path below FOLDER; counts what was read."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._texts = {FOLDER / name: text for name, text in files.items()}
        self.read: list[Path] = []

    def __call__(self, path: Path) -> str:
        self.read.append(path)
        if path not in self._texts:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return self._texts[path]


def load(
    text: str,
    environment: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
) -> LoadedProfile:
    """The profile `text` as `main.yaml` beside `files`. Raises ProfileInvalid."""
    return load_profile(ROOT, environment or {}, Texts({"main.yaml": text, **(files or {})}))


def find_problems(
    text: str,
    environment: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
) -> tuple[Problem, ...]:
    """The problems of the same; empty for a valid profile."""
    try:
        load(text, environment, files)
    except ProfileInvalid as error:
        return error.problems
    return ()


def show(problems: tuple[Problem, ...]) -> str:
    """`name:line:col: path: message` lines, for comparisons that read well when they fail."""
    return "\n".join(str(problem).removeprefix(f"{FOLDER}/") for problem in problems)
