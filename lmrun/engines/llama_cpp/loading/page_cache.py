"""A model file in the page cache in huge pages, before llama.cpp maps it. It knows no model.

Every token reads all weights once, and in pages of 4 KiB that takes a translation of an address
for each. Linux fills the page cache in huge pages where a mapping asks for them and the file system
can (ext4 since 6.16, XFS since 5.18); who maps the file afterwards has them too, in every process.
Measured on SmolLM2-135M Q4_1, one stream: 1.01 to 1.03 times the tokens per second.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

LEAST_BYTES = 32 * 2**20
"""The translations of smaller files fit into the processor's own tables well enough."""
REREAD_S = 5.0
"""What is in the page cache already, in small pages, is read again for no longer than this."""
_HUGE = 2 * 2**20
_PIECE = 128 * _HUGE
_MADV_POPULATE_READ = 22
_FIELD = "FilePmdMapped:"


def read_in_huge_pages(
    path: Path, on_progress: Callable[[float], None], reread_s: float = REREAD_S
) -> int:
    """Read a file into the page cache, from its beginning. How many bytes then lie in huge pages.

    Ends early, with nothing lost, where the kernel, the file system or the processor gives none,
    where others hold what would have to be read again, and once reading again has taken `reread_s`
    seconds. What `on_progress` raises ends it too; it is told the fraction that was read.
    """
    found = 0
    if sys.platform == "linux":
        for read, huge in _read_pieces(path, reread_s):
            found += huge
            on_progress(read)
    return found


def _read_pieces(path: Path, reread_s: float) -> Iterator[tuple[float, int]]:
    """After each piece the fraction of the file that was read, and its bytes in huge pages.

    Ends where something is wrong with the file, too: that is for llama.cpp to say.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            end = size // _HUGE * _HUGE if size >= LEAST_BYTES else 0
            # The first page alone shows whether there are any to be had.
            for start in (0, *range(_HUGE, end, _PIECE)) if end else ():
                length = min(_PIECE, end - start) if start else _HUGE
                begun = time.monotonic()
                huge, was_read_again = _read_piece(file.fileno(), start, length, reread_s > 0)
                if was_read_again:
                    reread_s -= time.monotonic() - begun
                if huge < length // 2:
                    return
                yield (start + length) / size, huge
    except (OSError, ValueError):
        return


def _read_piece(file: int, start: int, length: int, may_reread: bool) -> tuple[int, bool]:
    """The bytes of a piece that lie in huge pages, and whether it took reading them again.

    Raises OSError where the kernel knows no such advice, or the file was cut meanwhile.
    """
    with mmap.mmap(file, length, prot=mmap.PROT_READ, offset=start) as piece:
        piece.madvise(mmap.MADV_HUGEPAGE)
        # Else the kernel reads ahead of the huge page it was asked for, in small ones.
        piece.madvise(mmap.MADV_RANDOM)
        piece.madvise(_MADV_POPULATE_READ)
        huge = _count_huge(piece)
        if huge == length or not may_reread:
            return huge, False
        # Pages leave the cache only when they are on the disk and nobody maps them.
        os.fsync(file)
        piece.madvise(mmap.MADV_DONTNEED)
        os.posix_fadvise(file, start, length, os.POSIX_FADV_DONTNEED)
        piece.madvise(_MADV_POPULATE_READ)
        return _count_huge(piece), True


def _count_huge(piece: mmap.mmap) -> int:
    """Bytes of a mapping that huge pages map, as /proc/self/smaps says. Raises OSError."""
    address = np.frombuffer(piece, dtype=np.uint8).ctypes.data
    is_here = False
    with Path("/proc/self/smaps").open() as lines:
        for line in lines:
            name = line.split(maxsplit=1)[0]
            if not name.endswith(":"):
                is_here = name.startswith(f"{address:x}-")
            elif is_here and name == _FIELD:
                return int(line.split()[1]) * 1024
    return 0
