"""A bare copy of the repository that is followed: fetch a commit, check it, read its files.

It writes no work tree: attributes, filters, links and hooks of a repository have no effect here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmrun.errors import GitFailed
from lmrun.reconcile.git.command import NETWORK_TIMEOUT_S, Git
from lmrun.settings.git_source import GitSource
from lmrun.store.failures import storing

log = logging.getLogger("lmrun.git")

MAX_FILES = 10_000
MAX_BYTES = 64 * 2**20
_HEAD = "refs/lmrun/head"
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REGULAR = {"100644": False, "100664": False, "100755": True}


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A regular file of a commit. `path`: relative, safe to join; `blob`: git's id of its content;
    `size` in bytes."""

    path: str
    blob: str
    size: int
    is_executable: bool


class SignatureMissing(GitFailed):
    """A commit has no signature that git trusts."""

    code = "signature_missing"


class Repository:
    """One remote's ref, as it was fetched last."""

    def __init__(self, folder: Path, source: GitSource, environment: Mapping[str, str]) -> None:
        self._source = source
        self._folder = folder
        self._git = Git(folder, environment, trusts_transport=not source.require_signed)

    async def fetch(self) -> str:
        """The id of the commit that the ref means now. Raises GitFailed and StoreError."""
        if not (self._folder / "HEAD").is_file():
            with storing(self._folder, "create"):
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            await self._git.run("init", "--bare", "--quiet", "--template=")
        await self._git.run(
            "fetch",
            "--quiet",
            "--force",
            "--no-tags",
            "--depth=1",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--",
            self._source.url,
            f"+{self._source.ref}:{_HEAD}",
            timeout_s=NETWORK_TIMEOUT_S,
        )
        found = await self._git.run("rev-parse", "--verify", "--quiet", f"{_HEAD}^{{commit}}")
        commit = found.decode("ascii", errors="replace").strip()
        if not _COMMIT.fullmatch(commit):
            raise GitFailed(f"{self._source.ref} is no commit, it means {commit[:80]!r}.")
        return commit

    async def require_signature(self, commit: str) -> None:
        """Raises SignatureMissing with what git says of the signature."""
        try:
            await self._git.run("verify-commit", commit)
        except GitFailed as error:
            said = error.message.removeprefix("`git verify-commit` failed: ").rstrip(".")
            said = "it has none" if said == "exit code 1" else said
            raise SignatureMissing(
                f"Commit {commit[:12]} has no signature that git trusts: {said}.",
                hint="Sign it with a key in git's keyring, or in gpg.ssh.allowedSignersFile.",
            ) from error

    async def list_files(self, commit: str) -> tuple[TreeFile, ...]:
        """The regular files of a commit. Raises GitFailed when it has too many, or one whose name
        leads elsewhere."""
        out = await self._git.run("ls-tree", "-r", "-l", "-z", "--full-tree", commit)
        files, passed_over = parse_tree(out)
        if passed_over:
            log.warning(
                "commit %s: links and submodules are passed over: %s",
                commit[:12],
                ", ".join(passed_over[:5]),
            )
        size = sum(file.size for file in files)
        if len(files) > MAX_FILES or size > MAX_BYTES:
            raise GitFailed(
                f"Commit {commit[:12]} has {len(files)} files of {size} bytes; "
                f"at most {MAX_FILES} of {MAX_BYTES} are taken.",
                hint="Models belong elsewhere: name them with `package:` or an absolute `file:`.",
            )
        return files

    async def read_blobs(self, blobs: Sequence[str]) -> dict[str, bytes]:
        """Contents by blob id. Raises GitFailed."""
        if not blobs:
            return {}
        wanted = "".join(f"{blob}\n" for blob in blobs).encode()
        return parse_batch(await self._git.run("cat-file", "--batch", stdin=wanted))


def parse_tree(listing: bytes) -> tuple[tuple[TreeFile, ...], list[str]]:
    """`git ls-tree -r -l -z` → its regular files, and the names of what is none. Raises GitFailed
    for a name that leads out of the tree."""
    files, others = [], []
    for entry in listing.split(b"\0"):
        if not entry:
            continue
        head, _, raw = entry.partition(b"\t")
        mode, _, blob, size = head.decode("ascii").split()
        path = _check_path(raw)
        if mode in _REGULAR:
            files.append(TreeFile(path, blob, int(size), _REGULAR[mode]))
        else:
            others.append(path)
    return tuple(files), others


def parse_batch(out: bytes) -> dict[str, bytes]:
    """`git cat-file --batch` → contents by id. Raises GitFailed for an object that is missing."""
    contents: dict[str, bytes] = {}
    start = 0
    while start < len(out):
        end = out.index(b"\n", start)
        words = out[start:end].decode("ascii", errors="replace").split()
        if len(words) != 3 or words[1] != "blob":
            raise GitFailed(f"git does not have an object: {' '.join(words)}.")
        size = int(words[2])
        contents[words[0]] = out[end + 1 : end + 1 + size]
        start = end + 1 + size + 1
    return contents


def _check_path(raw: bytes) -> str:
    try:
        path = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise GitFailed(f"The name {raw[:80]!r} in the repository is not UTF-8.") from None
    parts = path.split("/")
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        raise GitFailed(f"The name {path[:80]!r} in the repository leads out of it.")
    return path
