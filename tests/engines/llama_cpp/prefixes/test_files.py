"""Prefixes outlive their process in private files; a file that was touched is never used."""

from __future__ import annotations

import stat
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from lmrun.engines.base import Attachments, CacheStore, LoadedModel, PromptProcessed
from lmrun.engines.llama_cpp.engine import engine
from lmrun.engines.llama_cpp.loading.native import load_native
from lmrun.engines.llama_cpp.memory import Memory
from lmrun.engines.llama_cpp.prefixes.files import PrefixFiles, StoredPrefix
from lmrun.settings.load import LoadConfig
from tests.engines.llama_cpp.bare import decode_greedily
from tests.support.engines import Subject, drain, generate, spec

SECRET = b"s" * 32
WANTED = spec(1, prompt_length=200, max_tokens=8, temperature=0)


def load(subject: Subject, folder: Path, *, identity: str = "model") -> LoadedModel:
    """A model that keeps its prefixes in `folder`."""
    store = CacheStore(str(folder), SECRET, identity)
    config = LoadConfig(context_length=512, flash_attention=False)
    return engine.load(
        subject.path,
        config,
        threads=1,
        on_progress=lambda fraction: None,
        attachments=Attachments(cache_store=store),
    )


def cached(model: LoadedModel) -> int:
    """Prompt tokens of WANTED that need not be computed."""
    model.add(WANTED)
    return max(e.cached for e in drain(model)[1] if isinstance(e, PromptProcessed))


def stored(folder: Path, *, identity: str = "model") -> list[StoredPrefix]:
    return list(PrefixFiles(folder, SECRET, identity).scan())


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_a_prefix_survives_a_restart_and_gives_the_same_answer(
    tiny: Subject, tmp_path: Path
) -> None:
    with closing(load(tiny, tmp_path)) as model:
        answer = generate(model, WANTED)
    assert [stat.S_IMODE(path.stat().st_mode) for path in files_of(tmp_path)] == [0o600]
    with closing(load(tiny, tmp_path)) as model:
        assert model.usage().prefix_cache_entries == 1
        assert cached(model) == 199
        assert generate(model, WANTED) == answer


def test_a_hot_prefix_is_saved_while_the_model_rests(tiny: Subject, tmp_path: Path) -> None:
    with closing(load(tiny, tmp_path)) as model:
        generate(model, WANTED)
        model.rest()
        assert not files_of(tmp_path)
        generate(model, WANTED)
        model.rest()
        wait_for(lambda: any(path.suffix == ".prefix" for path in files_of(tmp_path)))


def test_a_restored_state_exports_byte_equal(tiny: Subject, tmp_path: Path) -> None:
    config = LoadConfig(context_length=512, flash_attention=False)
    with closing(load_native(tiny.path, config, 1, lambda fraction: None)) as native:
        assert native.memory is not None
        memory = Memory(native.context, native.memory, 4, native.traits)
        decode_greedily(native, WANTED.prompt, 20)
        state = memory.export(0)
        files = PrefixFiles(tmp_path, SECRET, "model")
        files.save((), np.array(WANTED.prompt, dtype=np.int32), 0, state)
        files.close()
        (prefix,) = stored(tmp_path)
        restored = prefix.read()
        memory.clear(0)
        assert restored is not None and memory.restore(0, restored)
        assert memory.export(0).tobytes() == restored.tobytes() == state.tobytes()


@pytest.mark.parametrize("place", [0, 10, 60, 5000, -40, -1])
def test_a_file_with_a_flipped_byte_is_dropped_and_the_prompt_computed_again(
    tiny: Subject, tmp_path: Path, place: int
) -> None:
    with closing(load(tiny, tmp_path)) as model:
        answer = generate(model, WANTED)
    (path,) = files_of(tmp_path)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with closing(load(tiny, tmp_path)) as model:
        assert cached(model) == 0
        assert generate(model, WANTED) == answer


@pytest.mark.parametrize("keep", [0, 1, 100, 3000, -1])
def test_a_file_that_is_cut_off_is_dropped(tiny: Subject, tmp_path: Path, keep: int) -> None:
    with closing(load(tiny, tmp_path)) as model:
        generate(model, WANTED)
    (path,) = files_of(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with closing(load(tiny, tmp_path)) as model:
        assert model.usage().prefix_cache_entries == 0
        assert cached(model) == 0


def test_files_of_another_model_are_dropped(tiny: Subject, tmp_path: Path) -> None:
    with closing(load(tiny, tmp_path)) as model:
        generate(model, WANTED)
    with closing(load(tiny, tmp_path, identity="other")) as model:
        assert model.usage().prefix_cache_entries == 0
        assert files_of(tmp_path) == []


def test_a_file_signed_with_another_secret_is_not_used(tmp_path: Path) -> None:
    ours, theirs = (PrefixFiles(tmp_path, key, "model") for key in (SECRET, b"t" * 32))
    ours.save((), np.arange(40, dtype=np.int32), 0, np.arange(99, dtype=np.uint8))
    ours.close()
    (prefix,) = theirs.scan()
    assert prefix.read() is None and files_of(tmp_path) == []
