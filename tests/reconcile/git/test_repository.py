"""What is read out of a repository, and what is not taken from it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from lmrun.errors import GitFailed
from lmrun.reconcile.git import repository as module
from lmrun.reconcile.git.repository import Repository, SignatureMissing, parse_batch, parse_tree
from lmrun.settings.git_source import GitSource
from tests.support.git import Remote

BLOB = "a" * 40


def entry(mode: str, kind: str, size: str, path: bytes) -> bytes:
    return f"{mode} {kind} {BLOB} {size:>7}\t".encode() + path + b"\0"


def open_repository(tmp_path: Path, remote: Remote, **changes: object) -> Repository:
    source = GitSource(**{"url": str(remote.bare), "ref": "main", "path": "p", **changes})  # type: ignore[arg-type]
    return Repository(tmp_path / "copy", source, {**os.environ, **remote.environment})


def test_regular_files_are_read_and_everything_else_is_named() -> None:
    listing = (
        entry("100644", "blob", "3", b"a/b.yaml")
        + entry("100755", "blob", "4", "größe".encode())
        + entry("120000", "blob", "5", b"link")
        + entry("160000", "commit", "-", b"submodule")
    )
    files, others = parse_tree(listing)
    assert [(it.path, it.size, it.is_executable) for it in files] == [
        ("a/b.yaml", 3, False),
        ("größe", 4, True),
    ]
    assert others == ["link", "submodule"]


@pytest.mark.parametrize(
    "path", [b"../x", b"a/../../x", b"/etc/x", b".git/config", b"a/.GIT/x", b"a//b", b".", b"\xff"]
)
def test_a_name_that_leads_out_of_the_tree_refuses_the_commit(path: bytes) -> None:
    with pytest.raises(GitFailed, match="The name"):
        parse_tree(entry("100644", "blob", "3", path))


def test_contents_are_told_apart_by_their_sizes() -> None:
    first, second = b"a\nb\n", b""
    out = b"%b blob 4\n%b\n%b blob 0\n%b\n" % (b"1" * 40, first, b"2" * 40, second)
    assert parse_batch(out) == {"1" * 40: first, "2" * 40: second}
    with pytest.raises(GitFailed, match="does not have an object"):
        parse_batch(b"%b missing\n" % (b"1" * 40))


def test_a_branch_a_tag_and_a_commit_can_be_followed(tmp_path: Path) -> None:
    remote = Remote(tmp_path)
    first = remote.push({"p": "one"})
    remote.run("tag", "-a", "v1", "-m", "One")
    remote.run("push", "--quiet", str(remote.bare), "v1")
    second = remote.push({"p": "two"})
    found = {
        ref: asyncio.run(open_repository(tmp_path, remote, ref=ref).fetch())
        for ref in ("main", "v1", first)
    }
    assert found == {"main": second, "v1": first, first: first}


def test_a_history_that_was_rewritten_is_followed(tmp_path: Path) -> None:
    remote = Remote(tmp_path)
    first = remote.push({"p": "one"})
    repository = open_repository(tmp_path, remote)
    remote.push({"p": "two"})
    asyncio.run(repository.fetch())
    remote.run("reset", "--quiet", "--hard", first)
    remote.run("push", "--quiet", "--force", str(remote.bare), "HEAD:main")
    assert asyncio.run(repository.fetch()) == first


def test_what_a_commit_has_is_read_byte_for_byte(tmp_path: Path) -> None:
    remote = Remote(tmp_path)
    commit = remote.push({"p": "größe\r\n", "d/e": "", ".gitattributes": "p text eol=lf\n"})
    repository = open_repository(tmp_path, remote)

    async def read() -> dict[str, bytes]:
        await repository.fetch()
        files = await repository.list_files(commit)
        contents = await repository.read_blobs([file.blob for file in files])
        return {file.path: contents[file.blob] for file in files}

    found = asyncio.run(read())
    assert found["d/e"] == b""
    assert found["p"].decode() in ("größe\r\n", "größe\n")


def test_a_missing_ref_and_a_missing_repository_are_told(tmp_path: Path) -> None:
    remote = Remote(tmp_path)
    remote.push({"p": "one"})
    with pytest.raises(GitFailed, match="couldn't find remote ref nowhere"):
        asyncio.run(open_repository(tmp_path, remote, ref="nowhere").fetch())
    with pytest.raises(GitFailed, match="does not appear to be a git repository"):
        asyncio.run(open_repository(tmp_path, remote, url=str(tmp_path / "gone")).fetch())


def test_a_ref_that_is_no_commit_is_refused(tmp_path: Path) -> None:
    remote = Remote(tmp_path)
    remote.push({"p": "one"})
    remote.run("tag", "blob", remote.run("rev-parse", "HEAD:p"))
    remote.run("push", "--quiet", str(remote.bare), "blob")
    with pytest.raises(GitFailed):
        asyncio.run(open_repository(tmp_path, remote, ref="blob").fetch())


def test_a_repository_of_too_many_bytes_is_refused_with_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    remote = Remote(tmp_path)
    commit = remote.push({"p": "eleven bytes"})
    repository = open_repository(tmp_path, remote)
    asyncio.run(repository.fetch())
    with pytest.raises(GitFailed, match="1 files of 12 bytes; at most 10000 of 10"):
        asyncio.run(repository.list_files(commit))


def test_a_signature_counts_when_its_key_is_trusted(tmp_path: Path) -> None:
    remote = Remote(tmp_path)
    repository = open_repository(tmp_path, remote, require_signed=True)
    unsigned = remote.push({"p": "one"})
    asyncio.run(repository.fetch())
    with pytest.raises(SignatureMissing, match="it has none"):
        asyncio.run(repository.require_signature(unsigned))
    remote.trust_ssh_key()
    signed = remote.push({"p": "two"}, signed=True)
    asyncio.run(repository.fetch())
    asyncio.run(repository.require_signature(signed))
    remote.sign_with_a_stranger()
    strange = remote.push({"p": "three"}, signed=True)
    asyncio.run(repository.fetch())
    with pytest.raises(SignatureMissing, match="no signature that git trusts"):
        asyncio.run(repository.require_signature(strange))
