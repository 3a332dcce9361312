"""A model whose numbers overflow ends its sequences, one by one, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from lmrun.engines.base import LoadedModel, SequenceFailed
from tests.support.engines import Subject, drain, spec
from tests.support.tiny_llama import write_tiny_llama


def write_damaged(path: Path) -> Path:
    """The tiny llama with one weight that is no number."""
    write_tiny_llama(path, seed=1)
    reader = gguf.GGUFReader(path, "r+")
    (norm,) = (tensor for tensor in reader.tensors if tensor.name == "output_norm.weight")
    norm.data[3] = np.nan
    reader.data.flush()
    return path


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedModel]:
    subject = Subject(write_damaged(tmp_path_factory.mktemp("damaged") / "tiny.gguf"))
    with closing(subject.load()) as model:
        yield model


@pytest.mark.parametrize(
    "chosen",
    [
        {"temperature": 0},
        {},
        {"top_k": 0, "top_p": 1, "min_p": 0},
        {"typical_p": 0.5, "xtc_probability": 0.5, "dry_multiplier": 1.0},
        {"mirostat": 1},
        {"mirostat": 2},
        {"logprobs": 5},
        {"logprobs": 5, "echo": True},
        {"deterministic": "strict"},
        {"prompt_lookup": True, "temperature": 0},
    ],
    ids=str,
)
def test_each_sequence_fails_by_itself(damaged: LoadedModel, chosen: dict[str, Any]) -> None:
    for number in (1, 2):
        damaged.add(spec(number, max_tokens=5, **chosen))
    events = drain(damaged)
    for number in (1, 2):
        last = events[number][-1]
        assert isinstance(last, SequenceFailed)
        assert "no usable prediction" in last.message
    assert (damaged.active, damaged.waiting) == (0, 0)
