"""`lmrun models`: what is on disk, as people and machines see it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tiny_llama import write_tiny_llama


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`lmrun models` with folders of its own everywhere."""
    environment = {**os.environ, "LMRUN_HOME": str(home), "HOME": str(home.parent)}
    return subprocess.run(
        [sys.executable, "-P", "-m", "lmrun", "models", *arguments],
        env={**environment, "HF_HOME": str(home.parent / "hf")},
        capture_output=True,
        text=True,
        check=False,
    )


def place(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True)
    return write_tiny_llama(folder / name, name="tiny")


def test_models_of_the_store_and_of_lm_studio_are_listed(home: Path) -> None:
    place(home / "models" / "me" / "small", "small.gguf")
    studio = home.parent / ".lmstudio" / "models" / "them" / "other"
    place(studio, "other.gguf")
    finished = run(home, "--json")
    assert finished.returncode == 0, finished.stderr
    origins = {entry["key"]: entry["origin"] for entry in json.loads(finished.stdout)}
    assert origins == {"small": "lmrun", "other": "lmstudio"}


def test_people_see_a_table_and_why_a_file_cannot_be_loaded(home: Path) -> None:
    model = place(home / "models" / "me" / "small", "small.gguf")
    broken = home / "models" / "me" / "broken" / "broken.gguf"
    broken.parent.mkdir()
    broken.write_bytes(model.read_bytes()[:1000])
    lines = run(home).stdout.splitlines()
    assert lines[0].split()[:3] == ["MODEL", "TYPE", "ARCHITECTURE"]
    assert lines[1].split()[:3] == ["small", "llm", "llama"]
    assert "! broken cannot be loaded: " in lines[-1]


def test_no_model_is_said_with_a_way_on(home: Path) -> None:
    finished = run(home)
    assert finished.stdout == "No model file found.\n"
    assert "package:" in finished.stderr
