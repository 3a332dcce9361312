"""What an MCP server is: everything that decides about what runs, and nothing that does not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lmrun.errors import McpUnreachable
from lmrun.profile.tooling.mcp import McpServerConfig
from lmrun.tools.mcp.pins.definitions import digest_of
from lmrun.tools.mcp.pins.identity import (
    IdentityReader,
    ServerIdentity,
    decode_identity,
    find_changes,
    show_identity,
)
from lmrun.tools.mcp.pins.scripts import MAX_SCRIPT_BYTES, MAX_SCRIPTS
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


SCRIPTED = [
    ("python3", "server.py", "--all"),
    ("python3", "-u", "server"),
    ("/usr/bin/env", "A=b", "python3", "-u", "server"),
    ("sh", "server"),
    ("node", "--no-warnings", "./server"),
    ("uv", "run", "server.py"),
    ("serve", "server.py"),
    ("serve", "--", "server.mjs"),
    ("serve", "hashbang"),
    ("serve", "runs"),
]


@pytest.fixture
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where commands are found; servers run elsewhere."""
    found = tmp_path_factory.mktemp("bin")
    for name in ("serve", "python3", "sh", "node", "uv", "uvx"):
        write_program(found / name)
    return found


@pytest.mark.parametrize("argv", SCRIPTED, ids=" ".join)
def test_one_byte_of_a_script_that_it_names_is_another_server(
    tmp_path: Path, programs: Path, argv: tuple[str, ...]
) -> None:
    def look() -> ServerIdentity:
        return read(local(*argv), tmp_path, path=programs)

    name = argv[1] if argv[-1] == "--all" else argv[-1]
    script = tmp_path / name
    script.write_text("#!/x" if name == "hashbang" else "one")
    script.chmod(0o755 if name == "runs" else 0o644)
    before = look()
    assert [it.name for it in before.scripts] == [name]
    assert f"script {name}: sha256 {before.scripts[0].sha256}" in show_identity(before)
    assert decode_identity(before.encode()) == before

    script.write_text(script.read_text() + "!")
    after = look()
    assert before.digest != after.digest
    (told,) = find_changes(before, after)
    assert told.startswith(f"the script {name} has sha256 ")
    script.unlink()
    assert "has sha256 (none), approved was" in find_changes(before, look())[0]


@pytest.mark.parametrize(
    "argv",
    [
        ("serve", "--db-path", "data.db"),
        ("python3", "-m", "serve", "--db-path", "data.db"),
        ("uvx", "serve", "data.db"),
        ("serve", "nowhere.py"),
        ("serve", "below"),
        ("serve", "fifo.py"),
        ("serve", "x" * 4096),
    ],
    ids=lambda argv: " ".join(argv)[:40],
)
def test_data_and_what_is_no_file_may_change(
    tmp_path: Path, programs: Path, argv: tuple[str, ...]
) -> None:
    (tmp_path / "below").mkdir()
    os.mkfifo(tmp_path / "fifo.py")
    (tmp_path / "data.db").write_text("one")
    before = read(local(*argv), tmp_path, path=programs)
    (tmp_path / "data.db").write_text("two")
    assert before.scripts == ()
    assert read(local(*argv), tmp_path, path=programs) == before


def test_scripts_that_are_too_many_or_too_large_are_refused(folder: Path) -> None:
    names = [f"{number}.py" for number in range(MAX_SCRIPTS + 1)]
    for name in names:
        (folder / name).write_text(name)
    assert len(read(local("serve", *names[1:]), folder).scripts) == MAX_SCRIPTS
    with pytest.raises(McpUnreachable, match="more than 16 scripts"):
        read(local("serve", *names), folder)
    os.truncate(folder / "0.py", MAX_SCRIPT_BYTES + 1)
    with pytest.raises(McpUnreachable, match=r"`command\[1\]` is a script of more than 64 MiB"):
        read(local("serve", "0.py"), folder)


def test_a_server_without_scripts_is_what_it_was_before_they_counted(folder: Path) -> None:
    identity = read(local("serve", "--all"), folder)
    known = {"argv": ["serve", "--all"], "cwd": ".", "sha256": identity.sha256}
    assert identity.digest == digest_of(known)


def test_references_are_agreed_to_not_their_values(folder: Path) -> None:
    written = {
        ("command", 1): "--token=${env:TOKEN}",
        ("command", 2): "${file:where}",
        ("cwd",): "${env:BELOW}",
    }
    (folder / "below").mkdir()
    (folder / "below" / "x.py").write_text("one")
    reader = IdentityReader({"PATH": str(folder)})
    one, two = (
        reader.read(
            local("serve", f"--token={value}", "x.py", cwd="below"),
            folder,
            folder / "p.yaml",
            written,
        )
        for value in ("hunter2", "swordfish")
    )
    assert one == two
    assert b"hunter2" not in one.encode() + repr(show_identity(one)).encode()
    assert "command: 'serve' '--token=${env:TOKEN}' '${file:where}'" in show_identity(one)
    assert "directory: ${env:BELOW}" in show_identity(one)
    assert [it.name for it in one.scripts] == ["${file:where}"]
    far = reader.read(
        remote("https://x.example/?k=hunter2"), folder, folder, {("url",): "https://${env:HOST}"}
    )
    assert far.url == "https://${env:HOST}"
