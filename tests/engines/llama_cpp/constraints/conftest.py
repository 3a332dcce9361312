"""Compilers over a vocabulary alone: no weights are loaded, nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_cpp import llama_cpp as native

from lmrun.engines.llama_cpp import native_log
from lmrun.engines.llama_cpp.constraints.compiler import ConstraintCompiler
from lmrun.engines.llama_cpp.vocabulary import Vocabulary
from tests.engines.llama_cpp.constraints.player import Player
from tests.support.smollm2 import smollm2_path
from tests.support.tiny_llama import write_tiny_llama


def make_player(path: Path) -> Iterator[Player]:
    native_log.install()
    parameters = native.llama_model_default_params()
    parameters.vocab_only = True
    model = native.llama_model_load_from_file(str(path).encode(), parameters)
    assert model is not None
    vocabulary = Vocabulary(native.llama_model_get_vocab(model))
    ends = tuple(t for t in range(vocabulary.size) if vocabulary.piece(t) is None)
    yield Player(ConstraintCompiler(vocabulary), vocabulary, ends)
    native.llama_model_free(model)


@pytest.fixture(scope="session")
def tiny_player(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Player]:
    """512 tokens: all bytes, pairs of letters, three control tokens of which one ends."""
    yield from make_player(write_tiny_llama(tmp_path_factory.mktemp("player") / "tiny.gguf"))


@pytest.fixture(scope="session")
def smollm2_player() -> Iterator[Player]:
    """49,152 tokens, of which three end."""
    yield from make_player(smollm2_path())


@pytest.fixture(scope="session", params=["tiny_player", "smollm2_player"])
def player(request: pytest.FixtureRequest) -> Player:
    found: Player = request.getfixturevalue(request.param)
    return found
