"""Files beneath a directory, with the inputs of those who tried to get out of one; by the kernel's
own resolution, and without it."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lmrun.errors import PathRefused
from lmrun.tools import beneath
from lmrun.tools.beneath import Entry, create_beneath, list_beneath, open_beneath

TRIES = int(os.environ.get("LMRUN_RACES", "0"))
"""How many; 0: as many as fit into LONGEST_S."""
LONGEST_S = 2.0
HOPELESS_S = 40.0
ENOUGH = 100

SWAP = """
import os, sys
os.chdir(sys.argv[1])
os.mkdir("there"); open("there/x", "w").write("inside"); os.symlink(sys.argv[2], "link")
open("file", "w").write("inside")
print("ready", flush=True)
while True:
    for name in ("there", "link"):
        os.rename(name, "dir")
        os.link("file", "new"); os.rename("new", "x")
        os.symlink(sys.argv[2] + "/x", "new"); os.rename("new", "x")
        os.rename("dir", name)
"""


@pytest.fixture(params=["openat2", "component by component"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of finding a file."""
    if request.param == "openat2":
        if not beneath._has_openat2():
            pytest.skip("this kernel has no openat2, or does not let us use it")
    else:
        monkeypatch.setattr(beneath, "_has_openat2", lambda: False)
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path, way: str) -> Path:
    """`w/a`, where tools may be; `w/b` and `w/a-evil` are beside it."""
    root = tmp_path / "w" / "a"
    (root / "sub").mkdir(parents=True)
    (root / "x").write_text("inside")
    (root / "sub" / "y").write_text("deeper")
    for name in ("b", "a-evil"):
        (root.parent / name).mkdir()
        (root.parent / name / "x").write_text("outside")
    return root


def read(root: Path, path: str | Path) -> str:
    with open_beneath(root, path) as file:
        return str(file.read())


@pytest.mark.parametrize("path", ["x", "./x", "sub/../x", "{root}/x", "{root}/sub/../x", "sub//y"])
def test_what_lies_inside_is_opened_however_it_is_written(root: Path, path: str) -> None:
    assert read(root, path.format(root=root)) in ("inside", "deeper")


def test_a_root_that_is_a_link_has_two_names(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    assert read(link, link / "x") == read(link, root / "x") == "inside"


@pytest.mark.parametrize(
    "path",
    [
        "{root}-evil/x",
        "{root}/../b/x",
        "../b/x",
        "../a-evil/x",
        "sub/../../b/x",
        "{root}/..",
        "..",
        "/",
        "/etc/passwd",
        "//etc/passwd",
        "x\0",
    ],
)
def test_what_leads_out_by_its_name_is_refused(root: Path, path: str) -> None:
    given = path.format(root=root)
    for attempt in (
        lambda: open_beneath(root, given),
        lambda: open_beneath(root, given, "w"),
        lambda: create_beneath(root, given, "mine"),
        lambda: list_beneath(root, given),
    ):
        with pytest.raises(PathRefused):
            attempt()
    assert (root.parent / "b" / "x").read_text() == "outside"


@pytest.mark.parametrize("target", ["{outside}", "../../b", "/", "../../b/../b"])
def test_links_that_lead_out_are_refused(root: Path, target: str) -> None:
    outside = root.parent / "b"
    (root / "sub" / "out").symlink_to(target.format(outside=outside))
    (root / "file").symlink_to(outside / "x")
    (root / "dangling").symlink_to(outside / "new")
    for path in ("sub/out/x", "sub/out/etc/passwd", "file", "dangling"):
        for mode in ("r", "w", "a", "r+", "rb", "wb"):
            with pytest.raises(PathRefused, match=f"'{path}' leads out of {root}"):
                open_beneath(root, path, mode)
    with pytest.raises(PathRefused):
        list_beneath(root, "sub/out")
    with pytest.raises(PathRefused):
        create_beneath(root, "sub/out/mine", "mine")
    with pytest.raises(FileExistsError):
        create_beneath(root, "dangling", "mine")
    assert sorted(it.name for it in outside.iterdir()) == ["x"]
    assert (outside / "x").read_text() == "outside"


def test_links_that_stay_inside_are_followed_where_the_kernel_vouches_for_it(
    root: Path, way: str
) -> None:
    (root / "sub" / "up").symlink_to("../x")
    (root / "down").symlink_to("sub")
    if way == "openat2":
        assert (read(root, "sub/up"), read(root, "down/y")) == ("inside", "deeper")
    else:
        for path in ("sub/up", "down/y"):
            with pytest.raises(PathRefused):
                read(root, path)


@pytest.mark.skipif(sys.platform != "linux", reason="these links are Linux's")
@pytest.mark.parametrize("path", ["root/etc/passwd", "cwd/x", "exe", "fd/{fd}"])
def test_magic_links_are_refused(way: str, tmp_path: Path, path: str) -> None:
    (tmp_path / "x").write_text("outside")
    with open(tmp_path / "x") as file, pytest.raises(PathRefused):
        open_beneath("/proc/self", path.format(fd=file.fileno()))


@contextmanager
def listening(path: Path) -> Iterator[None]:
    # A socket's name may be no longer than about a hundred characters.
    with tempfile.TemporaryDirectory(dir="/tmp") as short, socket.socket(socket.AF_UNIX) as it:
        it.bind(f"{short}/s")
        os.rename(f"{short}/s", path)
        yield


@pytest.mark.parametrize("mode", ["r", "w", "a", "r+"])
def test_fifos_sockets_and_devices_stay_closed_and_nobody_waits(root: Path, mode: str) -> None:
    os.mkfifo(root / "fifo")
    with listening(root / "socket"):
        for place, path in ((root, "fifo"), (root, "socket"), (Path("/dev"), "null")):
            began = time.monotonic()
            with pytest.raises(PathRefused, match="no regular file"):
                open_beneath(place, path, mode)
            assert time.monotonic() - began < 1.0


def test_files_are_created_only_where_nothing_is(root: Path) -> None:
    create_beneath(root, "sub/new", "Größe")
    create_beneath(root, root / "raw", b"\xff")
    assert (root / "sub" / "new").read_bytes() == "Größe".encode()
    assert (root / "raw").read_bytes() == b"\xff"
    mask = os.umask(0)
    os.umask(mask)
    assert (root / "raw").stat().st_mode & 0o777 == 0o666 & ~mask
    with pytest.raises(FileExistsError):
        create_beneath(root, "x", "mine")
    with pytest.raises(FileNotFoundError):
        create_beneath(root, "nowhere/new", "mine")
    assert read(root, "x") == "inside"


def test_the_modes_are_those_of_open(root: Path) -> None:
    with open_beneath(root, "x", "a") as file:
        file.write(" and more")
    assert read(root, "x") == "inside and more"
    with open_beneath(root, "x", "w") as file:
        file.write("ä")
    with open_beneath(root, "x", "rb") as raw:
        assert raw.read() == "ä".encode()
    for path, kind in (("sub", IsADirectoryError), ("nothing", FileNotFoundError)):
        with pytest.raises(kind, match=path):
            open_beneath(root, path)
    with pytest.raises(NotADirectoryError):
        open_beneath(root, "x/y")


def test_a_directory_is_listed_and_no_link_in_it_is_looked_through(root: Path) -> None:
    (root / "out").symlink_to(root.parent / "b")
    os.mkfifo(root / "fifo")
    assert list_beneath(root) == [
        Entry("fifo", "other", 0),
        Entry("out", "link", 0),
        Entry("sub", "directory", 0),
        Entry("x", "file", 6),
    ]
    assert list_beneath(root, root / "sub") == [Entry("y", "file", 6)]
    with pytest.raises(NotADirectoryError):
        list_beneath(root, "x")


def test_nothing_stays_open(root: Path) -> None:
    (root / "out").symlink_to("/etc")
    before = len(os.listdir("/dev/fd"))
    for path in ("x", "sub", "nothing", "out/passwd", "../b", "sub/y"):
        for act in (read, list_beneath):
            with suppress(OSError, PathRefused):
                act(root, path)
    assert len(os.listdir("/dev/fd")) == before


def rarest(seen: dict[str, int]) -> int:
    """How often the rarer of the two sights was had."""
    return min(seen["inside"], seen["refused"])


def test_links_swapped_between_check_and_use_let_nobody_out(root: Path, way: str) -> None:
    """Somebody puts links out in the place of a directory and of a file, over and over."""
    swapped = root / "sub"
    seen = {"inside": 0, "outside": 0, "refused": 0, "missing": 0}
    command = [sys.executable, "-I", "-c", SWAP, str(swapped), str(root.parent / "b")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as swapper:
        try:
            assert swapper.stdout is not None
            swapper.stdout.readline()
            began = time.monotonic()
            for number in range(TRIES) if TRIES else itertools.count():
                try:
                    if number % 8 == 7:
                        create_beneath(root, f"sub/dir/{number}", "mine")
                    seen[read(root, ("sub/x", "sub/dir/x")[number % 2])] += 1
                except PathRefused:
                    seen["refused"] += 1
                except FileNotFoundError:
                    seen["missing"] += 1
                took_s, was_swapped = time.monotonic() - began, rarest(seen) > ENOUGH
                if not TRIES and took_s > (LONGEST_S if was_swapped else HOPELESS_S):
                    break
        finally:
            swapper.kill()
    print(f"\n{way}: {number + 1} tries in {took_s:.1f} s: {seen}")
    assert seen["outside"] == 0, seen
    assert [it.name for it in (root.parent / "b").iterdir()] == ["x"], "written outside"
    assert rarest(seen) > ENOUGH, f"too little was swapped: {seen}"
