"""The engines that the contract suite runs on."""

from __future__ import annotations

import pytest

from lmrun.engines.registry import ENGINES
from tests.support.engines import Subject, make_subject


@pytest.fixture(scope="session", params=sorted(ENGINES))
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return make_subject(request.param, tmp_path_factory.mktemp("subject"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """The tiny llama, for what only llama.cpp promises."""
    return make_subject("llama_cpp", tmp_path_factory.mktemp("tiny"))
