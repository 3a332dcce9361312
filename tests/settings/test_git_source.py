"""Which repositories, refs and paths git may see at all."""

from __future__ import annotations

import pytest

from lmrun.errors import SourceInvalid
from lmrun.settings.git_source import GitSource, hide_credentials, make_git_source


def make(
    url: str = "https://example.com/org/profiles.git",
    ref: str = "main",
    path: str = "profile.yaml",
    interval: str = "30s",
    *,
    require_signed: bool = False,
) -> GitSource:
    return make_git_source(url, ref, path, interval, require_signed=require_signed)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/org/profiles.git",
        "https://user:secret@example.com:8443/profiles",
        "ssh://git@example.com:2222/org/profiles.git",
        "git@example.com:org/profiles.git",
        "/srv/git/profiles.git",
        "file:///srv/git/profiles.git",
    ],
)
def test_usual_repositories_are_taken(url: str) -> None:
    assert make(url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "profiles.git",
        "./profiles.git",
        "origin",
        "ext::sh -c touch% /tmp/pwned",
        "ext::sh%20-c%20id",
        "fd::17",
        "--upload-pack=touch /tmp/pwned",
        "-oProxyCommand=touch",
        "ssh://-oProxyCommand=touch%20x/y",
        "ssh://-oProxyCommand=x@example.com/y",
        "git@-oProxyCommand=x:y",
        "-git@example.com:y",
        "git@example.com:-oProxyCommand",
        "https:///nohost",
        "https://example.com:99999/x",
        "ftp://example.com/x",
        "EXT::sh",
        "https://example.com/a b",
        "https://example.com/a\nb",
        "https://example.com/\x1b[2J",
        "javascript://example.com/%0a",
    ],
)
def test_what_could_make_git_start_something_is_refused(url: str) -> None:
    with pytest.raises(SourceInvalid, match="--git"):
        make(url)
    with pytest.raises(SourceInvalid, match="--git"):
        make(url, require_signed=True)


@pytest.mark.parametrize("url", ["http://example.com/x.git", "git://example.com/x.git"])
def test_transports_that_protect_nothing_need_signatures(url: str) -> None:
    with pytest.raises(SourceInvalid, match="anybody on the way"):
        make(url)
    assert make(url, require_signed=True).require_signed


@pytest.mark.parametrize("ref", ["main", "release/2.1", "v1.0.0", "refs/heads/main", "a" * 40])
def test_branches_tags_and_commits_are_refs(ref: str) -> None:
    assert make(ref=ref).ref == ref


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "-main",
        "--upload-pack=touch",
        "main:refs/heads/evil",
        "+main",
        "main^{/x}",
        "main@{1}",
        "a..b",
        "a/../b",
        "a//b",
        "/main",
        "main/",
        ".hidden",
        "x/.hidden",
        "main.lock",
        "main.",
        "a b",
        "a\nb",
        "*",
        "refs/*",
        "x" * 201,
    ],
)
def test_options_refspecs_and_patterns_are_no_refs(ref: str) -> None:
    with pytest.raises(SourceInvalid, match="--ref"):
        make(ref=ref)


@pytest.mark.parametrize("path", ["profile.yaml", "machines/desk/profile.yaml"])
def test_a_path_is_relative_to_the_repository(path: str) -> None:
    assert make(path=path).path == path


@pytest.mark.parametrize(
    "path", ["", "/etc/profile.yaml", "../profile.yaml", "a/../../b", "a//b", ".git/config", "a\nb"]
)
def test_a_path_cannot_leave_the_repository(path: str) -> None:
    with pytest.raises(SourceInvalid, match="--path"):
        make(path=path)


@pytest.mark.parametrize("interval", ["", "30", "0s", "500ms", "soon", "-1s"])
def test_an_interval_is_a_duration_of_at_least_a_second(interval: str) -> None:
    with pytest.raises(SourceInvalid, match="--interval"):
        make(interval=interval)


def test_an_interval_is_read_in_seconds() -> None:
    assert make(interval="2m").interval_s == 120.0


def test_what_is_shown_has_no_password() -> None:
    source = make("https://user:secret@example.com/x.git")
    assert source.shown_url == "https://example.com/x.git"
    assert hide_credentials("fatal: https://token@h/x not found") == "fatal: https://h/x not found"


def test_a_refusal_does_not_show_the_password() -> None:
    with pytest.raises(SourceInvalid) as caught:
        make("ftp://user:secret@example.com/x")
    assert "secret" not in str(caught.value)
