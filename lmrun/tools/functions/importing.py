"""Importing a module of a profile, and saying where it goes wrong. It changes the process that it
runs in, and knows nothing else of it."""

from __future__ import annotations

import difflib
import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any


class ModuleUnfit(Exception):
    """It cannot be imported, or is another one; the message says where and why."""


def import_module(name: str, directory: Path) -> ModuleType:
    """The module `name`, looked for in `directory` before anywhere else. Raises ModuleUnfit."""
    sys.path.insert(0, str(directory))
    # A file that changes twice in a second must not be taken for what was compiled before.
    sys.dont_write_bytecode = True
    try:
        module = importlib.import_module(name)
    except BaseException as error:  # a module may do anything, sys.exit() included
        raise ModuleUnfit(_tell(error, name, directory)) from error
    if _lies_in(directory, name) and not _is_within(module, directory):
        raise ModuleUnfit(
            f"`{name}` is already the name of a module that lmrun or Python uses; give "
            f"the one in {directory} another name"
        )
    return module


def find_function(module: ModuleType, name: str) -> Any:
    """Raises ModuleUnfit."""
    try:
        return getattr(module, name)
    except AttributeError:
        own = [key for key, value in vars(module).items() if callable(value) and key[:1] != "_"]
        close = difflib.get_close_matches(name, own, n=1)
        hint = f"; did you mean `{close[0]}`?" if close else ""
        where = getattr(module, "__file__", None) or module.__name__
        raise ModuleUnfit(f"{where}: there is no `{name}`{hint}") from None


def find_files(directory: Path) -> dict[str, int]:
    """The files below `directory` that were imported, with the time of their last change in ns."""
    found: dict[str, int] = {}
    for module in list(sys.modules.values()):
        if _is_within(module, directory):
            file = Path(str(module.__file__))
            try:
                found[str(file)] = file.stat().st_mtime_ns
            except OSError:
                continue
    return found


def _tell(error: BaseException, name: str, directory: Path) -> str:
    """`tools.py:3: ModuleNotFoundError: …`: the last place that is the profile's own."""
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    is_itself = isinstance(error, ModuleNotFoundError) and error.name in (name, name.split(".")[0])
    if is_itself and not _lies_in(directory, name):
        return f"there is no module `{name}` in {directory}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(directory)]
    return f"{own[-1].filename}:{own[-1].lineno}: {what}" if own else f"`{name}`: {what}"


def _lies_in(directory: Path, name: str) -> bool:
    top = directory / name.partition(".")[0]
    return top.is_dir() or top.with_suffix(".py").is_file()


def _is_within(module: ModuleType, directory: Path) -> bool:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not Path(file).is_relative_to(directory):
        return False
    # A virtual environment may stand beside the profile.
    return "site-packages" not in Path(file).relative_to(directory).parts
