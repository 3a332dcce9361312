"""What the system says a process holds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lmrun.runtime.process.memory import ProcessMemory, parse_status, read_memory

STATUS = (
    "Name:\tpython\nVmRSS:\t  9000 kB\nRssAnon:\t  4000 kB\nRssFile:\t  5000 kB\n"
    "RssShmem:\t     0 kB\nVmSwap:\t   100 kB\nThreads:\t3\n"
)


def test_memory_is_what_is_its_own_and_what_is_mapped() -> None:
    assert parse_status(STATUS) == ProcessMemory(4100 * 1024, 5000 * 1024)


@pytest.mark.parametrize("text", ["", "Name:\tx\n", STATUS.replace("RssAnon", "Other")], ids=len)
def test_a_process_without_memory_has_none(text: str) -> None:
    assert parse_status(text) is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_memory_that_is_taken_is_seen() -> None:
    before = read_memory(os.getpid())
    held = bytearray(b"\1" * (64 * 2**20))
    after = read_memory(os.getpid())
    assert before is not None and after is not None
    assert after.anonymous - before.anonymous > 0.9 * len(held)


def test_a_process_that_is_gone_has_none() -> None:
    assert read_memory(sys.maxsize) is None
