"""Loading: refused files say why, nothing is printed, and the package is imported late."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest

from lmrun.errors import EngineMissing, LoadFailed
from tests.support.engines import Subject
from tests.support.gguf_files import finish


def cut_in_half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def turn_to_noise(data: bytes) -> bytes:
    return bytes((7 * place) % 251 for place in range(4096))


def rename_architecture(data: bytes) -> bytes:
    return data.replace(b"llama", b"lambo")


@pytest.mark.parametrize("damage", [cut_in_half, turn_to_noise, rename_architecture])
def test_a_refused_file_carries_the_reason_and_nothing_is_printed(
    tiny: Subject,
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "damaged.gguf"
    path.write_bytes(damage(tiny.path.read_bytes()))
    with pytest.raises(LoadFailed) as failed:
        Subject(path).load()
    reason = failed.value.message.split("refused the model:")[1]
    assert str(path) in failed.value.message and len(reason) > 20
    assert tuple(capfd.readouterr()) == ("", "")


@pytest.mark.parametrize("kind", ["diffusion", "rank"])
def test_models_that_would_run_wrongly_are_refused(
    tiny: Subject, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"{kind}.gguf"
    _write_with(tiny.path, path, kind)
    with pytest.raises(LoadFailed) as failed:
        Subject(path).load()
    assert str(path) in failed.value.message
    assert "which lmrun cannot run" in failed.value.message


def _write_with(source: Path, target: Path, kind: str) -> None:
    """The tiny model's file, as a kind of model that is not for generation."""
    writer = gguf.GGUFWriter(target, {"rank": "llama", "diffusion": "dream"}[kind])
    reader = gguf.GGUFReader(source)
    for field in reader.fields.values():
        if field.name.startswith(("GGUF.", "general.architecture")):
            continue
        name = field.name.replace("llama.", f"{writer.arch}.")
        kinds = field.types
        inner = kinds[-1] if kinds[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kinds[0], inner)
    if kind == "rank":
        writer.add_pooling_type(gguf.PoolingType.RANK)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    finish(writer)


def test_a_missing_package_says_which_extra_brings_it(
    tiny: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(EngineMissing) as missing:
        tiny.load()
    assert missing.value.hint is not None
    assert "pip install 'lmrun[llama-cpp]'" in missing.value.hint


def test_choosing_the_engine_imports_no_native_library() -> None:
    program = (
        "import sys; from lmrun.engines.registry import get_engine;"
        "get_engine('llama_cpp'); get_engine('scripted');"
        "sys.exit(any(name.startswith(('llama_cpp', 'numpy')) for name in sys.modules))"
    )
    root = Path(__file__).parents[4]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
