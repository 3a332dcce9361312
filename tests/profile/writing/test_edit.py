"""One value of a YAML text is changed, and nothing else."""

from __future__ import annotations

import difflib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.profile.text.strict_yaml import parse_yaml
from lmrun.profile.writing.edit import EditRefused, set_value, to_data
from tests.profile.writing.documents import KEYS, MAPPINGS, VALUES, Writer, paths

PROFILE = """\
# head
version: 1
models:
  # the model
  m:   # here
    source: file:./m.gguf   # src
    load: {context_length: 4096} # why
  n:
    source: "file:./n.gguf"
    load:
      # inner
      gpu: # g
        # more
        ratio: off   # last
        main_gpu: 1
      seed: 1

    # trailing
# end
presets: {}
"""


def read(text: str) -> Any:
    parsed = parse_yaml(text, "t")
    assert parsed.root is not None and not parsed.problems, (text, parsed.problems)
    return to_data(parsed.root)


def find(data: Any, path: tuple[str | int, ...]) -> Any:
    """What is there; None where nothing is."""
    for part in path:
        if part not in (data if isinstance(data, dict) else range(len(data))):
            return None
        data = data[part]
    return data


def replaced(data: Any, path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return value
    if isinstance(data, list) and path == (len(data),):
        return [*data, value]
    if isinstance(data, list) and isinstance(path[0], int):
        return [replaced(it, path[1:], value) if n == path[0] else it for n, it in enumerate(data)]
    return {**data, path[0]: replaced(data.get(path[0], {}), path[1:], value)}


@st.composite
def edits(draw: st.DrawFn) -> tuple[dict[str, Any], str, list[str], tuple[str | int, ...], Any]:
    """A document, how it is written, and what is to be written where."""
    data = draw(MAPPINGS)
    writer = Writer(draw)
    text = writer.document(data)
    mappings = [(), *(path for path in paths(data) if isinstance(find(data, path), dict))]
    new = st.tuples(st.sampled_from(mappings), st.lists(KEYS, min_size=1, max_size=2))
    written = [*paths(data)]
    lists = {path: find(data, path) for path in written if isinstance(find(data, path), list)}
    ends = [(*path, len(items)) for path, items in lists.items()]
    old = st.sampled_from([*written, *ends])
    path = draw(st.one_of(old, new.map(lambda it: (*it[0], *it[1]))))
    return data, text, writer.comments, path, draw(VALUES)


@settings(max_examples=150, deadline=None)
@given(edits())
def test_a_written_value_is_read_again_and_nothing_else_changes(
    edit: tuple[dict[str, Any], str, list[str], tuple[str | int, ...], Any],
) -> None:
    data, text, comments, path, value = edit
    try:
        wanted = replaced(data, path, value)
    except (TypeError, AttributeError):
        # The path leads through something that is no mapping.
        with pytest.raises(EditRefused):
            set_value(text, path, value)
        return
    edited = set_value(text, path, value)
    assert show(read(edited)) == show(wanted)
    removed, added = changed_lines(text, edited)
    # Besides the line itself, the last one may have had no line break until now.
    assert added <= 2
    if not isinstance(find(data, path), dict | list):
        assert removed <= 2
        assert all(comment in edited for comment in comments)


def show(data: Any) -> str:
    return json.dumps(data, sort_keys=True)


def changed_lines(old: str, new: str) -> tuple[int, int]:
    """How many lines are gone, and how many are new."""
    before, after = old.split("\n"), new.split("\n")
    changes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    spans = [(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in changes if tag != "equal"]
    return sum(it for it, _ in spans), sum(it for _, it in spans)


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        ("models.m.load.context_length", 256, "{context_length: 4096}", "{context_length: 256}"),
        (
            "models.m.load.seed",
            1,
            "{context_length: 4096} # why",
            "{context_length: 4096, seed: 1} # why",
        ),
        ("models.m.state", "absent", "# why\n", "# why\n    state: absent\n"),
        (
            "models.n.load.gpu",
            None,
            "gpu: # g\n        # more\n        ratio: off   # last\n        main_gpu: 1\n",
            "gpu: null # g\n        # more\n",
        ),
        ("models.n.load.gpu.ratio", 0.5, "ratio: off   # last", "ratio: 0.5   # last"),
        ("presets.t.prediction.seed", 7, "presets: {}", "presets: {t: {prediction: {seed: 7}}}"),
        ("models.n.load.seed", None, "seed: 1\n", "seed: null\n"),
        ("drift", "adopt", "presets: {}\n", "presets: {}\ndrift: adopt\n"),
    ],
)
def test_what_changes_is_what_a_person_would_have_written(
    path: str, value: Any, old: str, new: str
) -> None:
    assert set_value(PROFILE, tuple(path.split(".")), value) == PROFILE.replace(old, new)


def test_a_json_profile_stays_json() -> None:
    text = (
        '{\n  "version": 1,\n  "models": {\n    "m": {\n      "source": "file:m"\n    }\n  }\n}\n'
    )
    edited = set_value(text, ("models", "m", "load"), {"k_cache_type": "q8_0"})
    added = '"source": "file:m", "load": {"k_cache_type": "q8_0"}\n'
    assert edited == text.replace('"source": "file:m"\n', added)


@pytest.mark.parametrize(
    "text",
    [
        "a: &x {n: 1}\nb: *x\n",
        "a: &x\n  n: 1\nb: *x\n",
        "a: {n: &x 1}\nb: *x\n",
    ],
)
def test_what_an_alias_repeats_is_not_changed(text: str) -> None:
    with pytest.raises(EditRefused, match=r"`a\.n` cannot be written without .* an alias"):
        set_value(text, ("a", "n"), 2)


def test_an_alias_gives_way_to_the_value_of_its_place_alone() -> None:
    assert set_value("a: &x 1\nb: *x # c\n", ("b",), 2) == "a: &x 1\nb: 2 # c\n"
    with pytest.raises(EditRefused):
        set_value("a: &x {n: 1}\nb: *x\n", ("b", "n"), 2)


def test_a_text_that_keeps_its_blank_lines_keeps_them() -> None:
    assert set_value("a: |+\n  t\n\n", ("b",), 1) == "b: 1\na: |+\n  t\n\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: []\nb: 1\n", "a: [{n: 1}]\nb: 1\n"),
        ("a: [x, y] # c\n", "a: [x, y, {n: 1}] # c\n"),
        ("a:\n- x # first\n\n# b\nb: 1\n", "a:\n- x # first\n- {n: 1}\n\n# b\nb: 1\n"),
        ("a:\n  - k: 1\n    l: 2", "a:\n  - k: 1\n    l: 2\n  - {n: 1}"),
    ],
)
def test_the_index_behind_the_last_adds_to_a_list(text: str, expected: str) -> None:
    assert set_value(text, ("a", len(read(text)["a"])), {"n": 1}) == expected


def test_what_is_no_mapping_takes_no_key() -> None:
    with pytest.raises(EditRefused, match="there is no place for `b`"):
        set_value("a: 1\n", ("a", "b"), 2)
    with pytest.raises(EditRefused, match="not valid YAML"):
        set_value("a: [\n", ("a",), 2)
