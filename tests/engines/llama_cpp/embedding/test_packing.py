"""Which inputs share a batch."""

from __future__ import annotations

import pytest

from lmrun.engines.llama_cpp.embedding.model import pack


@pytest.mark.parametrize(
    ("lengths", "room", "most", "expected"),
    [
        ([], 10, 4, []),
        ([3, 3, 3], 10, 4, [(0, 3)]),
        ([3, 3, 3, 3], 10, 4, [(0, 3), (3, 4)]),
        ([10, 1, 10], 10, 4, [(0, 1), (1, 2), (2, 3)]),
        ([1] * 9, 10, 4, [(0, 4), (4, 8), (8, 9)]),
    ],
)
def test_inputs_are_packed_into_batches_in_order(
    lengths: list[int], room: int, most: int, expected: list[tuple[int, int]]
) -> None:
    assert list(pack(lengths, room, most)) == expected
