"""The lock file: its text, and every difference from it in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from lmrun.errors import LockMismatch
from lmrun.profile.lock import (
    Lock,
    LockedFile,
    LockedModel,
    compare,
    lock_path,
    parse_lock,
    require_same,
    write_lock,
)

WHERE = Path("/p/p.yaml.lock")
FILE = LockedFile("model", "m.gguf", "file:./m.gguf", None, 10, "a" * 64)
LOCK = Lock(
    lmrun="0.1.0",
    packages={"jinja2": "3.1.6", "llama-cpp-python": "0.3.36"},
    engines={"llama_cpp": "0.3.36"},
    models={"m": LockedModel("llama_cpp", "b" * 64, (FILE,))},
)
PLACES = {("m", "file:./m.gguf", "m.gguf"): Path("/p/m.gguf")}


def with_model(**changes: Any) -> Lock:
    model = msgspec.structs.replace(LOCK.models["m"], **changes)
    return msgspec.structs.replace(LOCK, models={"m": model})


def with_file(**changes: Any) -> Lock:
    return with_model(files=(msgspec.structs.replace(FILE, **changes),))


def test_a_lock_comes_back_from_its_text_and_the_same_lock_is_the_same_text() -> None:
    text = write_lock(LOCK)
    assert parse_lock(text.encode(), WHERE) == LOCK
    turned = msgspec.structs.replace(LOCK, packages=dict(reversed(LOCK.packages.items())))
    assert write_lock(turned) == text
    assert text.endswith("}\n")


def test_the_lock_file_lies_beside_its_profile() -> None:
    assert lock_path(Path("/p/p.yaml")) == WHERE


def test_nothing_differs_from_itself() -> None:
    assert compare(LOCK, LOCK, PLACES) == ()
    require_same(LOCK, LOCK, PLACES, WHERE)


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            with_file(sha256="c" * 64),
            f"models.m: model /p/m.gguf: has sha256 {'c' * 64}, locked is {'a' * 64}",
        ),
        (with_file(size=11), "models.m: model /p/m.gguf: has 11 bytes, locked are 10"),
        (with_file(revision="r2"), "models.m: model /p/m.gguf: is revision r2, locked is None"),
        (with_model(files=()), "models.m: model m.gguf (file:./m.gguf) is not here"),
        (
            with_model(files=(FILE, msgspec.structs.replace(FILE, role="adapter", name="l.gguf"))),
            "models.m: adapter l.gguf (file:./m.gguf) is not in the lock file",
        ),
        (
            with_model(chat_template=None),
            f"models.m: its chat template has sha256 none, locked is {'b' * 64}",
        ),
        (with_model(engine="mlx"), "models.m: runs on mlx, locked is llama_cpp"),
        (msgspec.structs.replace(LOCK, models={}), "models.m: locked, not in the profile"),
        (
            msgspec.structs.replace(LOCK, models={**LOCK.models, "n": LOCK.models["m"]}),
            "models.n: not in the lock file",
        ),
        (msgspec.structs.replace(LOCK, lmrun="0.2.0"), "lmrun: 0.2.0, locked is 0.1.0"),
        (
            msgspec.structs.replace(LOCK, engines={"llama_cpp": "0.4"}),
            "engine llama_cpp: 0.4, locked is 0.3.36",
        ),
        (
            msgspec.structs.replace(LOCK, packages={"jinja2": "3.1.6"}),
            "package llama-cpp-python: not installed, locked is 0.3.36",
        ),
        (
            msgspec.structs.replace(LOCK, packages={**LOCK.packages, "numpy": "2"}),
            "package numpy: 2, locked is none",
        ),
    ],
)
def test_every_difference_is_named(found: Lock, line: str) -> None:
    assert compare(LOCK, found, PLACES) == (line,)


def test_all_differences_are_in_one_refusal() -> None:
    found = msgspec.structs.replace(with_file(sha256="c" * 64), lmrun="0.2.0")
    with pytest.raises(LockMismatch) as caught:
        require_same(LOCK, found, PLACES, WHERE)
    assert "/p/p.yaml.lock" in caught.value.message
    assert "lmrun: 0.2.0" in caught.value.message
    assert "/p/m.gguf" in caught.value.message
    assert str(caught.value).splitlines()[-1].startswith("Restore what was locked")


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b'{"version": 2}', write_lock(LOCK).encode()[:-5]]
)
def test_what_is_no_lock_file_is_refused(content: bytes) -> None:
    with pytest.raises(LockMismatch, match="is no lock file"):
        parse_lock(content, WHERE)


def test_a_lock_file_of_a_later_version_is_refused() -> None:
    later = write_lock(LOCK).replace('"version": 1', '"version": 2')
    with pytest.raises(LockMismatch):
        parse_lock(later.encode(), WHERE)
