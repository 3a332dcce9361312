"""Commits as folders, of which one is current. It knows no git: contents are handed in.

A file that is the same in the next commit stays the same file, so that what is loaded from it need
not be loaded again. The current folder is changed in one step.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

from lmrun.failpoints import reach
from lmrun.reconcile.git.repository import TreeFile
from lmrun.store.atomic import write_atomic
from lmrun.store.failures import storing

_UNFINISHED = ".unfinished"


class Checkouts:
    """`folder/commits/<id>`, and `folder/current`, a link to one of them. Every method raises
    StoreError."""

    def __init__(self, folder: Path) -> None:
        self._commits = folder / "commits"
        self.current = folder / "current"

    def find_current(self) -> str | None:
        """The commit that is current."""
        try:
            return Path(os.readlink(self.current)).name
        except OSError:
            return None

    def locate(self, commit: str) -> Path:
        """The folder of a commit, there or not."""
        return self._commits / commit

    def add(
        self,
        commit: str,
        files: Collection[TreeFile],
        contents: Mapping[str, bytes],
    ) -> Path:
        """The folder of `commit`, complete. `contents` by blob."""
        folder = self.locate(commit)
        if folder.is_dir():
            return folder
        scratch = folder.with_name(f"{commit}{_UNFINISHED}")
        with storing(scratch, "write"):
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(mode=0o700, parents=True)
            for file in files:
                target = scratch / file.path
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                known, content = self.current / file.path, contents[file.blob]
                mode = 0o700 if file.is_executable else 0o600
                if _is_same(known, content, mode):
                    _take_over(known, target)
                else:
                    write_atomic(target, content, mode=mode)
            reach("git.files_written")
            os.rename(scratch, folder)
        return folder

    def switch(self, commit: str) -> None:
        """Make `commit` the current one, in one step."""
        link = self.current.with_name(f"current{_UNFINISHED}")
        with storing(self.current, "write"):
            link.unlink(missing_ok=True)
            os.symlink(os.path.join(self._commits.name, commit), link)
            reach("git.link_made")
            os.replace(link, self.current)

    def keep_only(self, commits: Collection[str]) -> None:
        """Remove all other commits, and what was left unfinished."""
        if not self._commits.is_dir():
            return
        with storing(self._commits, "tidy"):
            for folder in self._commits.iterdir():
                if folder.name not in commits:
                    shutil.rmtree(folder, ignore_errors=True)


def _is_same(file: Path, content: bytes, mode: int) -> bool:
    try:
        return (
            stat.S_IMODE(file.stat().st_mode) == mode
            and not file.is_symlink()
            and file.read_bytes() == content
        )
    except OSError:
        return False


def _take_over(source: Path, target: Path) -> None:
    """The same file under another name; its copy where the disk has no second names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
