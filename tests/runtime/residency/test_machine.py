"""How much memory there is, and what a limit makes of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lmrun.runtime.residency import machine

GIB = 2**30


@pytest.mark.parametrize(
    ("limit", "expected"), [(0.8, int(0.8 * 16 * GIB)), (1.0, 16 * GIB), (5 * GIB, 5 * GIB)]
)
def test_a_share_is_of_all_and_a_size_is_itself(limit: float | int, expected: int) -> None:
    assert machine.to_bytes(limit, 16 * GIB) == expected


def test_there_is_no_more_than_the_machine_has() -> None:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < machine.read_total_bytes() <= physical


@pytest.mark.parametrize(
    ("text", "expected"), [("1073741824\n", GIB), ("max\n", None), ("", None), (None, None)]
)
def test_a_cgroup_s_limit_counts_where_it_sets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, expected: int | None
) -> None:
    file = tmp_path / "memory.max"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(machine, "_limit_files", lambda: [file])
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine.read_total_bytes() == min(physical, expected or physical)
