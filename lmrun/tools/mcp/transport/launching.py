"""What is started for a declared server: program, arguments, environment and directory.

It starts nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lmrun.errors import McpUnreachable
from lmrun.profile.tooling.mcp import McpServerConfig

PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")
"""Of lmrun's own environment; everything else a server only sees when it is declared."""


@dataclass(frozen=True, slots=True)
class Launch:
    """`program`: the executable file, absolute; `argv`: as declared. `environment`: all of it; it
    may hold secrets, so it never shows itself."""

    program: Path
    argv: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str] = field(repr=False)


def plan_launch(config: McpServerConfig, directory: Path, environment: Mapping[str, str]) -> Launch:
    """What the declared `command` means. `directory`: the profile's; `environment`: lmrun's own.

    Raises McpUnreachable where the program or the directory is not there.
    """
    assert config.command is not None
    where = working_directory(config, directory)
    if not where.is_dir():
        raise McpUnreachable(f"Its directory {where} does not exist.", hint="Correct its `cwd`.")
    passed_on = {name: environment[name] for name in PASSED_ON if name in environment}
    declared = {name: value.reveal() for name, value in config.env.items()}
    whole = {"PATH": os.defpath, **passed_on, **declared}
    program = find_program(config.command[0], whole["PATH"], where)
    if program is None:
        raise McpUnreachable(
            f"There is no program {config.command[0]!r} that could be run.",
            hint="Install it, or name it by its whole path in `command`.",
        )
    return Launch(program, config.command, where, whole)


def working_directory(config: McpServerConfig, directory: Path) -> Path:
    """Where the command runs: its `cwd`, relative to the profile's directory."""
    return Path(os.path.normpath(directory / (config.cwd or ".")))


def find_program(name: str, search_path: str, directory: Path) -> Path | None:
    """The executable that `name` means: on `search_path`, or from `directory` where it has a slash;
    None: there is none."""
    if "/" in name:
        found = shutil.which(str(directory / name))
    else:
        found = shutil.which(name, path=search_path)
    return Path(os.path.abspath(found)) if found is not None else None
