"""Projector files that do not serve are refused before native code could end the process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest

from lmrun.engines.llama_cpp.vision.projector import read_projector
from lmrun.engines.llama_cpp.vision.vision import open_vision
from lmrun.errors import ModelInvalid, SettingRefused
from tests.engines.llama_cpp.vision.bare import BATCH, TinyEye
from tests.support.gguf_files import finish
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_vision import write_tiny_projector

UINT32, FLOAT32 = gguf.GGUFValueType.UINT32, gguf.GGUFValueType.FLOAT32
STRING, BOOL = gguf.GGUFValueType.STRING, gguf.GGUFValueType.BOOL


def open_at(eye: TinyEye, path: Path) -> None:
    open_vision(eye.model, path, threads=1, batch_tokens=BATCH).close()


def refusal(eye: TinyEye, path: Path) -> SettingRefused:
    with pytest.raises(SettingRefused) as refused:
        open_at(eye, path)
    assert refused.value.param == "load.mmproj"
    assert str(path) in refused.value.message
    return refused.value


def rewrite(source: Path, target: Path, key: str, value: Any, kind: gguf.GGUFValueType) -> Path:
    """A copy with another value of one key; None leaves it out."""
    writer = gguf.GGUFWriter(target, "clip")
    reader = gguf.GGUFReader(source)
    for field in reader.fields.values():
        if field.name.startswith(("GGUF.", "general.architecture")) or field.name == key:
            continue
        kinds = field.types
        inner = kinds[-1] if kinds[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kinds[0], inner)
    if value is not None:
        writer.add_key_value(key, value, kind)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    finish(writer)
    return target


def test_a_text_model_is_no_projector(eye: TinyEye) -> None:
    assert "it is a model, no projector" in str(refusal(eye, eye.text_path))


def test_a_projector_of_another_width_is_refused_with_both(eye: TinyEye, tmp_path: Path) -> None:
    path = write_tiny_projector(tmp_path / "wide.gguf", embedding=96)
    said = str(refusal(eye, path))
    assert "64" in said and "96" in said and "published with this model" in said


def test_a_projector_for_sound_alone_is_refused(eye: TinyEye, tmp_path: Path) -> None:
    whole = write_tiny_projector(tmp_path / "whole.gguf")
    path = rewrite(whole, tmp_path / "deaf.gguf", "clip.has_vision_encoder", False, BOOL)
    assert "no vision encoder" in str(refusal(eye, path))


def test_a_model_without_the_projectors_tokens_is_refused(tmp_path: Path, eye: TinyEye) -> None:
    from llama_cpp import llama_cpp as native

    plain = write_tiny_llama(tmp_path / "plain.gguf")
    model = native.llama_model_load_from_file(
        str(plain).encode(), native.llama_model_default_params()
    )
    path = write_tiny_projector(tmp_path / "p.gguf", kind="idefics3")
    with pytest.raises(SettingRefused, match="lacks tokens"):
        open_vision(model, path, threads=1, batch_tokens=BATCH)
    native.llama_model_free(model)


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("clip.projector_type", "mystery", STRING),
        ("clip.projector_type", None, STRING),
    ],
)
def test_an_unknown_kind_is_refused(
    eye: TinyEye, tmp_path: Path, key: str, value: Any, kind: gguf.GGUFValueType
) -> None:
    whole = write_tiny_projector(tmp_path / "whole.gguf")
    path = rewrite(whole, tmp_path / "odd.gguf", key, value, kind)
    assert "unknown projector type" in str(refusal(eye, path))


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("clip.projector_type", 7, UINT32),
        ("clip.has_vision_encoder", 1, UINT32),
        ("clip.use_gelu", "yes", STRING),
        ("clip.vision.attention.layer_norm_epsilon", 1, UINT32),
        ("clip.vision.embedding_length", 0, UINT32),
        ("clip.vision.embedding_length", 32.0, FLOAT32),
        ("clip.vision.attention.head_count", 0, UINT32),
        ("clip.vision.attention.head_count", 2**31, UINT32),
        ("clip.vision.block_count", 513, UINT32),
        ("clip.vision.patch_size", 0, UINT32),
        ("clip.vision.patch_size", None, UINT32),
        ("clip.vision.image_size", 8193, UINT32),
    ],
)
def test_impossible_values_are_refused(
    eye: TinyEye, tmp_path: Path, key: str, value: Any, kind: gguf.GGUFValueType
) -> None:
    whole = write_tiny_projector(tmp_path / "whole.gguf")
    path = rewrite(whole, tmp_path / "odd.gguf", key, value, kind)
    with pytest.raises(ModelInvalid, match=key):
        open_at(eye, path)


@pytest.mark.parametrize(
    "name",
    ["v.patch_embd.weight", "v.position_embd.weight", "mm.0.weight", "v.blk.1.attn_k.weight"],
)
def test_a_missing_tensor_is_refused(eye: TinyEye, tmp_path: Path, name: str) -> None:
    path = write_tiny_projector(tmp_path / "p.gguf")
    path.write_bytes(path.read_bytes().replace(name.encode(), b"x" + name.encode()[1:]))
    with pytest.raises(ModelInvalid, match=f"the tensor {name} is missing"):
        open_at(eye, path)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def turn_to_noise(data: bytes) -> bytes:
    return bytes((7 * place) % 251 for place in range(4096))


@pytest.mark.parametrize("damage", [cut, turn_to_noise])
def test_a_damaged_file_is_refused(
    eye: TinyEye, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = write_tiny_projector(tmp_path / "p.gguf")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelInvalid):
        open_at(eye, path)


def test_a_missing_file_is_refused(eye: TinyEye, tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid):
        open_at(eye, tmp_path / "nowhere.gguf")


def test_nothing_is_printed(
    eye: TinyEye, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    open_at(eye, write_tiny_projector(tmp_path / "p.gguf"))
    refusal(eye, write_tiny_projector(tmp_path / "wide.gguf", embedding=96))
    assert tuple(capfd.readouterr()) == ("", "")


def test_a_file_has_a_digest_of_its_own(tmp_path: Path) -> None:
    first = read_projector(write_tiny_projector(tmp_path / "a.gguf", kind="mlp"))
    second = read_projector(write_tiny_projector(tmp_path / "b.gguf", kind="gemma3"))
    assert (first.kind, second.kind) == ("mlp", "gemma3")
    assert first.digest != second.digest == read_projector(second.path).digest
