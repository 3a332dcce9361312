"""Prefixes outlive their process in private files; a file that was touched is never used."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from lmrun.engines.base import Attachments, CacheStore, LoadedModel, PromptProcessed, SequenceSpec
from lmrun.engines.llama_cpp.engine import engine
from lmrun.engines.llama_cpp.loading.native import load_native
from lmrun.engines.llama_cpp.memory import Memory
from lmrun.engines.llama_cpp.prefixes.files import PrefixFiles, StoredPrefix
from lmrun.settings.load import LoadConfig
from lmrun.store.atomic import atomic_file
from tests.engines.llama_cpp.bare import decode_greedily
from tests.support.engines import Subject, drain, generate, spec
from tests.support.http import wait_until

SECRET = b"s" * 32
WANTED = spec(1, prompt_length=200, max_tokens=8, temperature=0)


def load(
    subject: Subject, folder: Path, *, identity: str = "model", **settings: Any
) -> LoadedModel:
    """A model that keeps its prefixes in `folder`."""
    store = CacheStore(str(folder), SECRET, identity)
    config = LoadConfig(context_length=512, flash_attention=False, **settings)
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


def save(folder: Path, tokens: int = 40) -> Path:
    """A prefix of that many tokens, written."""
    files = PrefixFiles(folder, SECRET, "model")
    path = files.save((), np.arange(tokens, dtype=np.int32), 0, np.arange(99, dtype=np.uint8))
    files.close(60)
    return path


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


def rest(model: LoadedModel) -> None:
    """Until there is nothing more to do."""
    while model.rest():
        pass


def test_a_state_of_other_caches_is_not_taken(tiny: Subject, tmp_path: Path) -> None:
    for sequences in (4, 8, 1):
        for times in range(2):
            with closing(load(tiny, tmp_path, max_parallel_predictions=sequences)) as model:
                assert cached(model) == (times and len(WANTED.prompt) - 1)
    shared: dict[str, Any] = {"unified_kv_cache": True}
    for sequences, known in ((4, 0), (8, len(WANTED.prompt) - 1)):
        with closing(load(tiny, tmp_path, **shared, max_parallel_predictions=sequences)) as model:
            assert cached(model) == known


def test_a_hot_prefix_is_saved_while_the_model_rests(tiny: Subject, tmp_path: Path) -> None:
    with closing(load(tiny, tmp_path)) as model:
        generate(model, WANTED)
        rest(model)
        assert not files_of(tmp_path)
        generate(model, WANTED)
        rest(model)
        wait_until(lambda: any(path.suffix == ".prefix" for path in files_of(tmp_path)))


def test_a_restored_state_exports_byte_equal(tiny: Subject, tmp_path: Path) -> None:
    config = LoadConfig(context_length=512, flash_attention=False)
    with closing(load_native(tiny.path, config, 1, lambda fraction: None)) as native:
        assert native.memory is not None
        memory = Memory(native.context, native.memory, 4, native.traits)
        decode_greedily(native, WANTED.prompt, 20)
        state = memory.export(0)
        files = PrefixFiles(tmp_path, SECRET, "model")
        files.save((), np.array(WANTED.prompt, dtype=np.int32), 0, state)
        files.close(60)
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
    ours.close(60)
    (prefix,) = theirs.scan()
    assert prefix.read() is None and files_of(tmp_path) == []


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": [2**40] * 40},
        {"tokens": [[1, 2], [3, 4]]},
        {"tokens": []},
        {"begin": 1.5},
        {"begin": -1},
        {"begin": 40},
        {"namespace": 3},
        {"size": None},
        {"format": ["lmrun-prefix-1"]},
    ],
    ids=str,
)
def test_a_file_whose_head_makes_no_sense_is_dropped(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    path = save(tmp_path)
    line, _, rest = path.read_bytes().partition(b"\n")
    path.write_bytes(json.dumps({**json.loads(line), **change}).encode() + b"\n" + rest)
    assert stored(tmp_path) == [] and files_of(tmp_path) == []


def test_a_file_whose_head_has_no_end_of_nesting_is_dropped(tmp_path: Path) -> None:
    save(tmp_path).write_bytes(b"[" * 2**20 + b"\n")
    assert stored(tmp_path) == []


def test_what_a_killed_process_left_unfinished_is_removed(tmp_path: Path) -> None:
    path = save(tmp_path)
    (tmp_path / f".{path.name}.abcdef.part").write_bytes(b"half of it")
    assert len(stored(tmp_path)) == 1
    assert files_of(tmp_path) == [path]


def test_a_model_loads_whatever_is_wrong_with_the_folder_of_its_prefixes(
    tiny: Subject, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "odd" / "a-folder.prefix" / "in-it").mkdir(parents=True)
    for folder in ("missing", "file", "odd"):
        with closing(load(tiny, tmp_path / folder)) as model:
            answer = generate(model, WANTED)
            assert generate(model, WANTED) == answer
            model.rest()


def test_what_takes_too_long_to_write_is_given_up_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = threading.Event()

    @contextmanager
    def slow_file(path: Path) -> Iterator[BinaryIO]:
        with atomic_file(path) as file:
            may_go_on.wait()
            yield file

    monkeypatch.setattr("lmrun.engines.llama_cpp.prefixes.files.atomic_file", slow_file)
    files = PrefixFiles(tmp_path, SECRET, "model")
    for length in (40, 50):
        tokens = np.arange(length, dtype=np.int32)
        files.save((), tokens, 0, np.zeros(99, dtype=np.uint8))
    files.close(0)
    may_go_on.set()
    files.close(60)
    files._writer.shutdown()
    assert files_of(tmp_path) == []


def test_at_the_end_what_was_used_most_is_written_first(
    tiny: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[int, int]] = []

    def note(self: PrefixFiles, namespace: object, tokens: Any, begin: int, state: object) -> Path:
        written.append((begin, len(tokens)))
        return tmp_path / "nowhere"

    monkeypatch.setattr(PrefixFiles, "save", note)
    with closing(load(tiny, tmp_path, unified_kv_cache=True)) as model:
        for length, times in ((50, 1), (120, 2), (100, 4), (90, 1)):
            start = spec(length, prompt_length=length, max_tokens=0)
            for _ in range(times):
                generate(model, start)
        longer = SequenceSpec(
            1, (*spec(100, prompt_length=100).prompt, *range(40, 80)), start.prediction
        )
        generate(model, longer)
    assert written == [(0, 100), (0, 120), (100, 140), (0, 90), (0, 50)]
