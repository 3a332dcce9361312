"""The repository that a server follows, as a value. It knows no git and opens nothing.

Whoever writes to the repository decides what this machine runs, so what could make git start
programs or read options is refused here, before git sees it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from lmrun.errors import SourceInvalid
from lmrun.settings.quantities import parse_duration

MIN_INTERVAL_S = 1.0
_SAFE = ("https", "ssh", "file")
_UNPROTECTED = ("http", "git")
_FORMS = (
    "A repository is `https://host/path`, `ssh://user@host/path`, `user@host:path`, or an absolute "
    "path on this machine."
)
_SCP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9.-]*:(?![/-]{2}|-)\S+")
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}")
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class GitSource:
    """`ref`: a branch, a tag or a whole commit id. `path`: of the profile inside the repository.

    `require_signed`: only commits with a signature that git trusts are applied.
    """

    url: str
    ref: str
    path: str
    interval_s: float = 30.0
    require_signed: bool = False

    @property
    def shown_url(self) -> str:
        """Without a user name and password."""
        return hide_credentials(self.url)


def make_git_source(
    url: str, ref: str, path: str, interval: str, *, require_signed: bool
) -> GitSource:
    """Raises SourceInvalid for what git must not see or cannot mean."""
    try:
        interval_s = parse_duration(interval)
    except ValueError as error:
        raise SourceInvalid(f"--interval {interval!r}: {error}.") from None
    if interval_s < MIN_INTERVAL_S:
        raise SourceInvalid(f"--interval {interval!r}: must be at least 1s.")
    _check_url(url, require_signed=require_signed)
    _check_ref(ref)
    _check_path(path)
    return GitSource(url, ref, path, interval_s, require_signed)


def hide_credentials(text: str) -> str:
    """`text` without what stands before the `@` of a URL."""
    return _USERINFO.sub("", text)


def _check_url(url: str, *, require_signed: bool) -> None:
    shown = hide_credentials(url)[:200]
    if not url or url.startswith("-") or "::" in url or not url.isprintable() or " " in url:
        raise SourceInvalid(f"--git {shown!r} is no repository that lmrun opens.", hint=_FORMS)
    if url.startswith("/") or _SCP.fullmatch(url):
        return
    scheme, marks, _ = url.partition("://")
    if marks and scheme in _UNPROTECTED and not require_signed:
        raise SourceInvalid(
            f"--git {shown!r}: over {scheme} anybody on the way could replace the profile.",
            hint="Use https or ssh, or --require-signed.",
        )
    if not marks or scheme not in (*_SAFE, *_UNPROTECTED) or not _is_plain(url):
        raise SourceInvalid(f"--git {shown!r} is no repository that lmrun opens.", hint=_FORMS)


def _is_plain(url: str) -> bool:
    """Whether neither host nor user can be taken for an option of ssh."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    named = [parts.username or "", host or ""]
    is_there = bool(host) or parts.scheme == "file"
    return is_there and port != 0 and not any(it.startswith("-") for it in named)


def _check_ref(ref: str) -> None:
    parts = ref.split("/")
    is_wrong = (
        not _REF.fullmatch(ref)
        or ".." in ref
        or any(not it or it.startswith(".") or it.endswith((".", ".lock")) for it in parts)
    )
    if is_wrong:
        raise SourceInvalid(
            f"--ref {ref[:200]!r} is no ref.",
            hint="Name a branch, a tag, or a whole commit id.",
        )


def _check_path(path: str) -> None:
    parts = path.split("/")
    if not path.isprintable() or any(it in ("", ".", "..") or it.lower() == ".git" for it in parts):
        raise SourceInvalid(
            f"--path {path[:200]!r} does not name a file in the repository.",
            hint="Write it relative to the repository's root, like `models/profile.yaml`.",
        )
