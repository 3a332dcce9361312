"""What an MCP server is: everything that decides about what runs, and nothing that does not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lmrun.errors import McpUnreachable
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.tools.mcp.pins.identity import (
    IdentityReader,
    ServerIdentity,
    decode_identity,
    find_changes,
    show_identity,
)
from tests.tools.mcp_consent.servers import local, remote, write_program


def read(
    config: McpServerConfig, folder: Path, *, path: Path | None = None, root: Path | None = None
) -> ServerIdentity:
    environment = {"PATH": str(path or folder)}
    return IdentityReader(environment).read(config, folder, root or folder / "p.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_program(tmp_path / "serve")
    return tmp_path


@pytest.mark.parametrize(
    ("argv", "fields", "told"),
    [
        (("serve", "--all"), {}, "argv: 'serve' → 'serve' '--all'"),
        (("serve", "a b"), {}, "argv: 'serve' → 'serve' 'a b'"),
        (("serve",), {"env": {"LD_PRELOAD": "x"}}, "env: (none) → 'LD_PRELOAD'"),
        (("serve",), {"cwd": "below"}, "cwd: . → below"),
    ],
)
def test_a_change_of_what_is_declared_is_another_server(
    folder: Path, argv: tuple[str, ...], fields: dict[str, Any], told: str
) -> None:
    (folder / "below").mkdir()
    before, after = read(local("serve"), folder), read(local(*argv, **fields), folder)
    assert before.digest != after.digest
    assert find_changes(before, after) == (told,)


def test_values_of_variables_do_not_count_and_are_nowhere(folder: Path) -> None:
    one = read(local("serve", env={"TOKEN": "hunter2"}), folder)
    two = read(local("serve", env={"TOKEN": "other"}), folder)
    assert one == two
    assert b"hunter2" not in one.encode()
    assert "hunter2" not in repr(one) + "".join(show_identity(one))


def test_one_byte_of_the_program_is_another_server(folder: Path) -> None:
    before = read(local("serve"), folder)
    write_program(folder / "serve", "exit 1")
    after = read(local("serve"), folder)
    assert before.digest != after.digest
    (told,) = find_changes(before, after)
    assert told.startswith(f"the program {folder / 'serve'} has sha256 ")


def test_a_reader_notices_a_change_at_the_same_size_and_time(folder: Path) -> None:
    program = folder / "serve"
    reader = IdentityReader({"PATH": str(folder)})
    before = reader.read(local("serve"), folder, folder / "p.yaml")
    found = program.stat()
    write_program(program, "exit 1")
    os.utime(program, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert program.stat().st_size == found.st_size
    assert reader.read(local("serve"), folder, folder / "p.yaml").digest != before.digest


def test_a_program_found_earlier_on_the_path_is_another_server(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    write_program(other / "serve", "exit 1")
    assert read(local("serve"), folder).digest != read(local("serve"), folder, path=other).digest
    declared = read(local("serve", env={"PATH": str(other)}), folder)
    assert declared.sha256 == read(local("serve"), folder, path=other).sha256


def test_the_same_content_elsewhere_is_the_same_server(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    write_program(other / "serve")
    assert read(local("serve"), folder).digest == read(local("serve"), folder, path=other).digest


def test_a_profile_that_was_moved_with_all_it_names_is_the_same(tmp_path: Path) -> None:
    digests = set()
    for name in ("here", "there"):
        folder = tmp_path / name
        (folder / "below").mkdir(parents=True)
        write_program(folder / "below" / "serve")
        digests.add(read(local("./serve", cwd="below"), folder).digest)
    assert len(digests) == 1


def test_a_link_is_as_good_as_what_it_leads_to(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "serve")
    identity = read(local("./link"), folder)
    assert identity.program == str((folder / "serve").resolve())
    write_program(folder / "serve", "exit 1")
    assert read(local("./link"), folder).digest != identity.digest


@pytest.mark.parametrize("name", ["no-such-program", "./no-such-program", "below", "plain"])
def test_what_cannot_be_started_is_said(folder: Path, name: str) -> None:
    (folder / "below").mkdir()
    (folder / "plain").write_text("not executable")
    with pytest.raises(McpUnreachable, match=name):
        read(local(name), folder)


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://mcp.example.com/other"},
        {"url": "https://mcp.example.org/mcp"},
        {"transport": "sse"},
        {"headers": {"X-Tenant": "a"}},
    ],
)
def test_another_address_is_another_server(folder: Path, fields: dict[str, Any]) -> None:
    before = read(remote(), folder)
    after = read(remote(**fields), folder)
    assert before.digest != after.digest
    assert find_changes(before, after)


def test_what_was_kept_is_what_was_agreed_to(folder: Path) -> None:
    for config in (local("serve", env={"A": "b"}), remote(headers={"X-A": "b"})):
        identity = read(config, folder)
        kept = decode_identity(identity.encode())
        assert kept == identity
        assert kept.digest == identity.digest


def test_all_of_a_command_is_shown(folder: Path) -> None:
    lines = show_identity(read(local("serve", "a b", "--", "c", env={"K": "v"}), folder))
    assert "command: 'serve' 'a b' '--' 'c'" in lines
    assert f"program: {folder / 'serve'}" in lines
    assert "environment: 'K'" in lines
    assert "directory: ." in lines
