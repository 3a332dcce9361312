"""Weights in huge pages: the file stays what it is, and what is claimed is what the kernel says."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from lmrun.engines.llama_cpp.loading.page_cache import LEAST_BYTES, read_in_huge_pages

HUGE = 2 * 2**20
PIECE = 4096
MADV_POPULATE_READ = 22


def make_file(folder: Path, size: int) -> Path:
    """Written in small pieces, which the page cache then holds in small pages."""
    path, piece = folder / "weights.gguf", os.urandom(PIECE)
    with path.open("wb", buffering=0) as file:
        for _ in range(size // PIECE):
            file.write(piece)
        file.write(b"the end")
    return path


def count_mapped_huge(path: Path) -> int:
    """Bytes of a plain mapping of the file that are mapped by huge pages, as llama.cpp maps it."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapping:
        mapping.madvise(MADV_POPULATE_READ)
        is_here = False
        for line in Path("/proc/self/smaps").read_text().splitlines():
            name = line.split(maxsplit=1)[0]
            if not name.endswith(":"):
                is_here = line.endswith(str(path))
            elif is_here and name == "FilePmdMapped:":
                return int(line.split()[1]) * 1024
    raise AssertionError("the mapping is not listed")


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux has huge pages")
def test_who_maps_the_file_afterwards_has_the_huge_pages_that_were_counted(tmp_path: Path) -> None:
    path = make_file(tmp_path, LEAST_BYTES)
    before = path.read_bytes()
    found = read_in_huge_pages(path, lambda fraction: None)
    assert count_mapped_huge(path) == found
    assert read_in_huge_pages(path, lambda fraction: None) == found
    assert path.read_bytes() == before


def test_what_is_in_small_pages_stays_there_without_time_to_read_it_again(tmp_path: Path) -> None:
    path = make_file(tmp_path, LEAST_BYTES)
    before = count_mapped_huge(path)
    assert read_in_huge_pages(path, lambda fraction: None, reread_s=0) <= HUGE
    assert count_mapped_huge(path) == before


def test_progress_rises_and_what_it_raises_ends_the_reading(tmp_path: Path) -> None:
    path = make_file(tmp_path, LEAST_BYTES)
    told: list[float] = []
    found = read_in_huge_pages(path, told.append)
    assert told == sorted(told)
    assert all(0 < fraction <= 1 for fraction in told)
    assert bool(told) == (found > 0)

    def stop(fraction: float) -> None:
        raise KeyboardInterrupt

    if found:
        with pytest.raises(KeyboardInterrupt):
            read_in_huge_pages(path, stop)


def test_a_small_file_is_left_alone(tmp_path: Path) -> None:
    assert read_in_huge_pages(make_file(tmp_path, HUGE), lambda fraction: None) == 0


def test_what_is_wrong_with_a_file_is_not_said_here(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.gguf"):
        assert read_in_huge_pages(path, lambda fraction: None) == 0
