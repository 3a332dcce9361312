"""A changed field goes into the file that last set it; references stay."""

from __future__ import annotations

from typing import Any

from lmrun.profile.writing.write_back import Field, WrittenBack, write_back
from tests.profile.support import FOLDER, ROOT, load

BASE = """\
models:
  m:
    source: file:./m.gguf  # the small one
    load: {context_length: 512}
"""


def write(fields: dict[Field, Any], main: str, files: dict[str, str] | None = None) -> WrittenBack:
    texts = {ROOT: main, **{FOLDER / name: text for name, text in (files or {}).items()}}
    return write_back(ROOT, texts, list(fields.items()))


LOAD: Field = ("models", "m", "load")


def test_the_file_that_last_set_the_field_is_written() -> None:
    main = "version: 1\ninclude: [base.yaml]\nmodels: {m: {load: {seed: 1}}}\n"
    result = write({(*LOAD, "context_length"): 256, (*LOAD, "seed"): 2}, main, {"base.yaml": BASE})
    assert result.refused == {}
    assert result.texts == {
        FOLDER / "base.yaml": BASE.replace("512", "256"),
        ROOT: main.replace("seed: 1", "seed: 2"),
    }


def test_a_field_that_nobody_has_set_goes_to_what_it_belongs_to() -> None:
    main = "version: 1\ninclude: [base.yaml]\n"
    result = write({(*LOAD, "seed"): 3}, main, {"base.yaml": BASE})
    assert result.texts == {
        FOLDER / "base.yaml": BASE.replace(
            "{context_length: 512}", "{context_length: 512, seed: 3}"
        )
    }
    main += "models: {m: {load: {threads: 1}}}\n"
    result = write({(*LOAD, "seed"): 3}, main, {"base.yaml": BASE})
    assert result.texts == {ROOT: main.replace("threads: 1", "threads: 1, seed: 3")}


def test_a_field_in_a_list_goes_to_its_entry() -> None:
    main = (
        "version: 1\nmodels:\n  m:\n    source: file:./m.gguf\n    instances:\n"
        "      - identifier: a  # first\n      - {identifier: b, load: {seed: 1}}\n"
    )
    above: Field = ("models", "m", "instances")
    fields = {(*above, 0, "load", "seed"): 5, (*above, 1, "load", "seed"): 6}
    assert write(fields, main).texts == {
        ROOT: main.replace("# first\n", "# first\n        load: {seed: 5}\n").replace(
            "{seed: 1}", "{seed: 6}"
        )
    }


def test_several_fields_of_one_file_are_written_together() -> None:
    main = "version: 1\nmodels:\n  m: {source: file:./m.gguf, state: absent}\n"
    result = write(
        {("models", "m", "state"): "loaded", (*LOAD, "seed"): 1, (*LOAD, "threads"): 2}, main
    )
    loaded = load(result.texts[ROOT])
    model = loaded.profile.models["m"]
    assert (model.state, model.load.seed, model.load.threads) == ("loaded", 1, 2)


def test_references_are_never_overwritten() -> None:
    main = (
        "version: 1\nmodels:\n  m:\n    source: file:./m.gguf\n"
        "    load: {context_length: '${env:N:-512}', seed: 1, gpu: {ratio: '${env:R}'}}\n"
    )
    result = write({(*LOAD, "context_length"): 256, (*LOAD, "seed"): 2, (*LOAD, "gpu"): None}, main)
    assert result.texts == {ROOT: main.replace("seed: 1", "seed: 2")}
    assert list(result.refused) == [(*LOAD, "context_length"), (*LOAD, "gpu")]
    assert (
        "`models.m.load.context_length` is a reference" in result.refused[(*LOAD, "context_length")]
    )


def test_a_text_that_looks_like_a_reference_is_written_as_the_text_that_it_is() -> None:
    main = "version: 1\nmodels: {m: {source: file:./m.gguf}}\npresets: {p: {system_prompt: a}}\n"
    result = write({("presets", "p", "system_prompt"): "say ${env:HOME}"}, main)
    assert load(result.texts[ROOT]).profile.presets["p"].system_prompt == "say ${env:HOME}"


def test_what_has_that_value_already_changes_no_file() -> None:
    main = "version: 1\nmodels: {m: {source: file:./m.gguf, load: {seed: 1}}}\n"
    assert write({(*LOAD, "seed"): 1}, main).texts == {}


def test_one_that_cannot_be_written_does_not_stop_the_others() -> None:
    main = (
        "version: 1\nmodels:\n  m: {source: file:./m.gguf, load: &l {seed: 1}}\n"
        "  n: {source: file:./n.gguf, load: *l}\n"
    )
    result = write({(*LOAD, "seed"): 2, ("models", "m", "state"): "absent"}, main)
    assert "alias" in result.refused[(*LOAD, "seed")]
    assert load(result.texts[ROOT]).profile.models["m"].state == "absent"
