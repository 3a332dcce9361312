"""Reading a profile's files: the limits, and that nothing odd blocks or crashes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lmrun.errors import ProfileInvalid
from lmrun.profile.loader import load_profile
from lmrun.profile.text.files import MAX_FILE_BYTES, Unreadable, read_secret_text, read_text


def test_a_file_of_the_largest_size_is_read_and_one_byte_more_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x" * MAX_FILE_BYTES)
    assert len(read_text(file)) == MAX_FILE_BYTES
    file.write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    with pytest.raises(Unreadable, match="larger than 1000 kB"):
        read_text(file)


def test_text_that_is_not_utf_8_is_refused_at_its_first_wrong_byte(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_bytes("version: 1\na: ä".encode() + b"\xff\n")
    with pytest.raises(ProfileInvalid) as caught:
        load_profile(file, {})
    assert str(caught.value) == f"{file}:2:5: byte 0xff is not UTF-8; save the file as UTF-8"


def test_an_include_that_is_not_utf_8_is_refused_in_the_included_file(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("version: 1\ninclude: [base.yaml]\n")
    (tmp_path / "base.yaml").write_bytes("a: 1\n".encode("utf-16"))
    with pytest.raises(ProfileInvalid) as caught:
        load_profile(tmp_path / "p.yaml", {})
    assert str(caught.value).startswith(f"{tmp_path}/base.yaml:1:1: byte 0xff is not UTF-8")


def test_a_folder_is_no_profile(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="is not a regular file"):
        read_text(tmp_path)


def test_a_named_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Unreadable, match="is not a regular file"):
        read_text(tmp_path / "pipe")


def test_an_endless_device_is_refused() -> None:
    with pytest.raises(Unreadable, match="is not a regular file"):
        read_text(Path("/dev/zero"))


def test_a_path_through_a_file_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("version: 1\ninclude: [p.yaml/x.yaml]\n")
    with pytest.raises(ProfileInvalid, match="cannot be read: not a directory"):
        load_profile(tmp_path / "p.yaml", {})


def test_an_absurdly_long_path_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(f"version: 1\ninclude: [{'x' * 5000}]\n")
    with pytest.raises(ProfileInvalid, match="cannot be read: file name too long"):
        load_profile(tmp_path / "p.yaml", {})


def test_a_secret_file_is_small_and_private(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"x" * 64_000)
    file.chmod(0o400)
    assert len(read_secret_text(file)) == 64_000
    file.chmod(0o600)
    file.write_bytes(b"x" * 64_001)
    with pytest.raises(Unreadable, match="larger than 64 kB"):
        read_secret_text(file)
