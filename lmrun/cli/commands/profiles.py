"""The profile file on the command line: find it, validate it, collect what it needs to travel.

It knows no field of a profile.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lmrun.cli.failures import EXPECTED, closest, count
from lmrun.cli.terminal import Terminal, paint, printable
from lmrun.errors import LmrunError, Problem, ProfileInvalid

_PROFILE_ENDINGS = (".yaml", ".yml")


def locate_profile(path: Path) -> Path:
    """The absolute path of the file meant. Raises LmrunError when there is none."""
    file = Path(os.path.abspath(path))
    if file.is_file():
        return file
    if file.is_dir():
        raise LmrunError(f"{path} is a directory.", hint=_name_a_profile(file))
    if file.exists():
        raise LmrunError(f"{path} is not a file.", hint="The server reads the profile by its name.")
    raise LmrunError(f"There is no file {path}.", hint=_suggest_file(path))


def validate(
    path: Path, *, as_json: bool, terminal: Terminal, environment: Mapping[str, str]
) -> int:
    """Show every problem of the profile at once and return the exit code. Needs no server."""
    problems = find_problems(locate_profile(path), environment)
    if as_json:
        terminal.show(encode_problems(problems))
    elif problems:
        terminal.show(render_problems(problems))
        terminal.tell(f"{paint('Error:', 'bad')} {count(len(problems), 'problem')} in {path}.")
    else:
        terminal.show(f"{path} is valid.")
    return EXPECTED if problems else 0


def find_problems(file: Path, environment: Mapping[str, str]) -> tuple[Problem, ...]:
    # Imported late: the typed profile takes a quarter of a second, which most commands never need.
    from lmrun.profile.loader import load_profile

    try:
        load_profile(file, environment)
    except ProfileInvalid as error:
        return error.problems
    return ()


def read_environment(file: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The values of the variables that the profile refers to, as far as they are set."""
    from lmrun.profile.environment import referenced_environment

    names = referenced_environment(file)
    return {name: environment[name] for name in sorted(names) if name in environment}


def encode_problems(problems: tuple[Problem, ...]) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode({"problems": problems}), indent=2).decode()


def render_problems(problems: tuple[Problem, ...]) -> str:
    """One line each, files as seen from here."""
    from lmrun.profile.report import problems_to_text

    return printable(problems_to_text(problems, relative_to=Path.cwd()))


def shorten_path(path: str) -> str:
    """Relative to the working directory where it lies below it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def _suggest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f"There is no directory {path.parent} either."
    names = [entry.name for entry in path.parent.iterdir() if entry.suffix in _PROFILE_ENDINGS]
    name = closest(path.name, names) or closest(f"{path.name}.yaml", names)
    return f"Did you mean {path.with_name(name)}?" if name else _name_a_profile(path.parent)


def _name_a_profile(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir() if entry.suffix in _PROFILE_ENDINGS)
    if not names:
        return "A profile is a YAML file, for example profiles/quickstart.yaml."
    return f"Name a profile, for example {folder / names[0]}."
