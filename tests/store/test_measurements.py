"""What loads have cost is kept per files and settings, and bounded."""

from __future__ import annotations

from pathlib import Path

from lmrun.store import measurements
from lmrun.store.measurements import NOTHING_MEASURED, Measurement, Measurements, make_key

KEY = make_key("model /m.gguf 10 1", {"context_length": 64})
OTHER_LOAD = make_key("model /m.gguf 10 1", {"context_length": 128})
OTHER_FILE = make_key("model /m.gguf 11 2", {"context_length": 64})


def test_nothing_is_known_before_the_first_load() -> None:
    assert Measurements(None).find(KEY) == NOTHING_MEASURED


def test_what_was_measured_outlives_the_process(tmp_path: Path) -> None:
    file = tmp_path / "measurements.db"
    store = Measurements(file)
    store.note_load(KEY, 1.5)
    store.note_memory(KEY, 100)
    store.close()
    assert Measurements(file).find(KEY) == Measurement(1.5, 100)
    assert file.stat().st_mode & 0o077 == 0


def test_the_newest_time_and_the_most_memory_count() -> None:
    store = Measurements(None)
    for seconds, memory in ((3.0, 50), (2.0, 200), (2.5, 100)):
        store.note_load(KEY, seconds)
        store.note_memory(KEY, memory)
    assert store.find(KEY) == Measurement(2.5, 200)


def test_the_time_of_the_same_file_stands_in_where_its_settings_are_new_but_never_its_memory() -> (
    None
):
    store = Measurements(None)
    store.note_memory(KEY, 100)
    store.note_load(KEY, 2.0)
    assert store.find(OTHER_LOAD) == Measurement(2.0, None)
    assert store.find(OTHER_FILE) == NOTHING_MEASURED


def test_the_order_of_settings_does_not_matter() -> None:
    assert make_key("f", {"a": 1, "b": 2}) == make_key("f", {"b": 2, "a": 1})


def test_old_measurements_are_forgotten() -> None:
    store = Measurements(None)
    keys = [make_key(str(n), {}) for n in range(measurements.KEPT_MEASUREMENTS + 1)]
    for key in keys:
        store.note_load(key, 1.0)
    assert store.find(keys[0]) == NOTHING_MEASURED
    assert store.find(keys[-1]) == Measurement(1.0)
