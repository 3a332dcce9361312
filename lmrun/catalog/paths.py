"""The one way a name from outside becomes a path."""

from __future__ import annotations

import stat
from pathlib import Path

from lmrun.errors import SourceInvalid
from lmrun.settings.sources import check_member


def safe_join(root: Path, name: str) -> Path:
    """`root / name`, for a name from outside; no part of it may be a symlink.

    Every path made from a foreign name comes through here. Raises SourceInvalid.
    """
    path = root
    for part in check_member(name).parts:
        path = path / part
        if _is_symlink(path):
            raise SourceInvalid(f"{path} is a symbolic link, which may point anywhere.")
    return path


def _is_symlink(path: Path) -> bool:
    try:
        return stat.S_ISLNK(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
