"""What an estimate is made of is read once, and again when the file has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lmrun.catalog import facts
from lmrun.catalog.facts import FactBook
from lmrun.catalog.gguf_reader import open_window
from lmrun.errors import ModelInvalid
from tests.support.tiny_llama import write_tiny_llama


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The containers that were parsed."""
    opened: list[Path] = []

    def note(path: Path) -> object:
        opened.append(path)
        return open_window(path)

    monkeypatch.setattr(facts, "open_window", note)
    return opened


def test_a_file_is_read_once_also_by_its_links(tmp_path: Path, reads: list[Path]) -> None:
    model, link = write_tiny_llama(tmp_path / "m.gguf"), tmp_path / "link.gguf"
    link.symlink_to(model)
    book = FactBook()
    found = book.read(model, None)
    assert book.read(model, None) == book.read(link, None) == found
    assert reads == [model]
    assert found.weights == model.stat().st_size


def test_another_number_of_experts_is_another_estimate(tmp_path: Path, reads: list[Path]) -> None:
    model, book = write_tiny_llama(tmp_path / "m.gguf"), FactBook()
    book.read(model, None)
    book.read(model, 2)
    assert len(reads) == 2


def test_a_file_that_has_changed_is_read_again(tmp_path: Path, reads: list[Path]) -> None:
    model, book = write_tiny_llama(tmp_path / "m.gguf"), FactBook()
    book.read(model, None)
    os.utime(model, ns=(1, 1))
    book.read(model, None)
    assert len(reads) == 2
    model.write_bytes(b"no model")
    with pytest.raises(ModelInvalid):
        book.read(model, None)


def test_what_is_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "MOST_KEPT", 2)
    model, book = write_tiny_llama(tmp_path / "m.gguf"), FactBook()
    for experts in range(1, 6):
        book.read(model, experts)
    assert len(book._known) == 2
