"""The tiny model that sees."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines.llama_cpp.vision.bare import TinyEye


@pytest.fixture(scope="module")
def eye(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyEye]:
    eye = TinyEye(tmp_path_factory.mktemp("eye"))
    yield eye
    eye.close()
