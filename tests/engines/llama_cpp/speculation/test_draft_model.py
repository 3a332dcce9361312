"""A draft model: its guesses are its own greedy answer, whatever happened before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lmrun.engines.llama_cpp.loading.native import NativeModel, load_native
from lmrun.engines.llama_cpp.speculation.draft_model import DraftModel, ModelDrafter, Wish
from lmrun.engines.llama_cpp.speculation.loading import load_draft_model
from lmrun.errors import LoadFailed, SettingRefused
from lmrun.settings.load import LoadConfig
from tests.engines.llama_cpp.bare import decode_greedily
from tests.engines.llama_cpp.speculation.measured import FREE, MEASURED, make_costs
from tests.support.bert import bert_path
from tests.support.tiny_llama import TinyShape, write_tiny_llama
from tests.support.tiny_variants import write_tiny_gemma2, write_tiny_mamba

PROMPT = [32 + (7 * position) % 90 for position in range(40)]


def ignore(fraction: float) -> None:
    pass


def load_target(path: Path, **settings: Any) -> NativeModel:
    given = {"flash_attention": False, "max_parallel_predictions": 2, **settings}
    return load_native(path, LoadConfig.model_validate(given), 1, ignore)


def load_draft(path: Path, target: NativeModel, **settings: Any) -> DraftModel:
    given = {"flash_attention": False, "eval_batch_size": 64, **settings}
    return load_draft_model(path, target, LoadConfig.model_validate(given), 1, ignore)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def path(folder: Path) -> Path:
    return write_tiny_llama(folder / "tiny.gguf", seed=1)


@pytest.fixture(scope="module")
def target(path: Path) -> Iterator[NativeModel]:
    with closing(load_target(path)) as model:
        yield model


@pytest.fixture
def draft(path: Path, target: NativeModel) -> Iterator[DraftModel]:
    with closing(load_draft(path, target)) as model:
        yield model


def as_array(*parts: list[int]) -> NDArray[np.int32]:
    return np.array([token for part in parts for token in part], dtype=np.int32)


def test_the_same_model_guesses_the_greedy_answer(target: NativeModel, draft: DraftModel) -> None:
    answer = decode_greedily(target, PROMPT, 60)
    assert draft.propose("a", as_array(PROMPT), 16) == answer[:16]
    for done in (16, 17, 20, 44):
        assert draft.propose("a", as_array(PROMPT, answer[:done]), 16) == answer[done : done + 16]
    assert draft.token_s > 0


def test_wrong_guesses_are_taken_back(target: NativeModel, draft: DraftModel) -> None:
    tokens = PROMPT.copy()
    for turn in range(12):
        expected = decode_greedily(target, tokens, 6)
        assert draft.propose("a", as_array(tokens), 6) == expected
        tokens += [*expected[: turn % 6], 33 + turn]


def test_a_changed_beginning_is_computed_again(target: NativeModel, draft: DraftModel) -> None:
    draft.propose("a", as_array(PROMPT), 4)
    other = [50, *PROMPT[7:]]
    assert draft.propose("a", as_array(other), 4) == decode_greedily(target, other, 4)
    assert draft.propose("a", as_array(other[:9]), 4) == decode_greedily(target, other[:9], 4)


def test_sequences_are_guessed_together_as_alone(target: NativeModel, draft: DraftModel) -> None:
    prompts = [PROMPT[:30], PROMPT[5:]]
    expected = [decode_greedily(target, prompt, 8) for prompt in prompts]
    wishes = [Wish(key, as_array(prompt), 8 - key) for key, prompt in enumerate(prompts)]
    # The two prompts are more than one decode takes: the second one follows.
    first = draft.propose_many(wishes)
    assert first[0] == expected[0]
    assert draft.propose_many(wishes) == [expected[0], expected[1][:7]]


def test_a_long_prompt_is_read_one_decode_at_a_time(target: NativeModel, draft: DraftModel) -> None:
    long = PROMPT * 4
    guesses = [draft.propose("a", as_array(long), 3) for _ in range(3)]
    assert guesses == [[], [], decode_greedily(target, long, 3)]


def test_with_too_many_sequences_the_one_served_longest_ago_is_forgotten(
    target: NativeModel, draft: DraftModel
) -> None:
    expected = decode_greedily(target, PROMPT, 4)
    for key in ("a", "b", "a", "c", "a", "b"):
        assert draft.propose(key, as_array(PROMPT), 4) == expected
    assert draft.propose_many([Wish(key, as_array(PROMPT[:9]), 2) for key in "xyz"])[2] == []


def test_forgetting_frees_a_place(target: NativeModel, draft: DraftModel) -> None:
    draft.propose("a", as_array(PROMPT), 4)
    draft.forget("a")
    draft.forget("a")
    assert draft.propose("a", as_array(PROMPT), 4) == decode_greedily(target, PROMPT, 4)


@pytest.mark.parametrize("tokens", [[], [-5, 3], [3, -5], [512], [3, 2**31 - 1]])
def test_what_it_cannot_read_is_not_guessed(draft: DraftModel, tokens: list[int]) -> None:
    assert draft.propose("a", as_array(tokens), 4) == []


def test_beyond_its_own_context_it_stays_silent(folder: Path, target: NativeModel) -> None:
    path = write_tiny_llama(folder / "short.gguf", seed=1, shape=TinyShape(context_length=64))
    answer = decode_greedily(target, PROMPT, 40)
    with closing(load_draft(path, target)) as draft:
        assert draft.propose("a", as_array(PROMPT, answer[:20]), 16) == answer[20:24]
        assert draft.propose("a", as_array(PROMPT, answer[:23]), 16) == answer[23:24]
        assert draft.propose("a", as_array(PROMPT, answer[:24]), 16) == []
        assert draft.propose("a", as_array(PROMPT, answer[:30]), 16) == []
        assert draft.propose("a", as_array(PROMPT[:10]), 2) == decode_greedily(
            target, PROMPT[:10], 2
        )


def test_another_model_guesses_its_own_answer(folder: Path, target: NativeModel) -> None:
    path = write_tiny_llama(folder / "other.gguf", seed=2, shape=TinyShape(layers=1))
    tokens = PROMPT.copy()
    with closing(load_target(path)) as same, closing(load_draft(path, target)) as draft:
        for _ in range(10):
            guess = draft.propose("a", as_array(tokens), 5)
            assert guess == decode_greedily(same, tokens, 5)
            tokens += decode_greedily(target, tokens, 2)


def test_a_sliding_window_does_not_forget_what_a_wrong_guess_pushed_out(folder: Path) -> None:
    path = write_tiny_gemma2(folder / "gemma2.gguf")
    with closing(load_target(path)) as target, closing(load_draft(path, target)) as draft:
        tokens = PROMPT.copy()
        for _ in range(6):
            expected = decode_greedily(target, tokens, 16)
            assert draft.propose("a", as_array(tokens), 16) == expected
            tokens += [expected[0], 77]


@contextmanager
def expect_refusal(*words: str) -> Iterator[None]:
    with pytest.raises(SettingRefused) as refused:
        yield
    assert refused.value.param == "load.draft_model"
    assert all(word in str(refused.value) for word in words)


def write_other_words(path: Path) -> Path:
    return write_tiny_llama(path, shape=TinyShape(vocab_size=640))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (write_tiny_mamba, ["recurrent"]),
        (lambda path: bert_path(), ["does not continue texts", "all-minilm"]),
        (write_other_words, ["another vocabulary"]),
    ],
)
def test_a_model_that_cannot_guess_is_refused_with_both_names(
    folder: Path, target: NativeModel, write: Callable[[Path], Path], words: list[str]
) -> None:
    with expect_refusal("tiny.gguf", *words):
        load_draft(write(folder / "wrong.gguf"), target)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path, target: NativeModel) -> None:
    (tmp_path / "none.gguf").write_bytes(b"nothing")
    with pytest.raises(LoadFailed, match=r"none\.gguf"):
        load_draft(tmp_path / "none.gguf", target)


def test_a_drafter_guesses_while_it_pays(target: NativeModel, draft: DraftModel) -> None:
    drafter, costs = ModelDrafter(draft, "a"), make_costs(FREE)
    draft.propose("warm", as_array(PROMPT), 4)
    draft.token_s = 0.0001
    guess = drafter.propose(as_array(PROMPT), 8, costs, 1)
    assert guess == decode_greedily(target, PROMPT, len(guess)) and len(guess) > 2
    for _ in range(40):
        drafter.observe(8, 0)
    assert drafter.propose(as_array(PROMPT), 8, make_costs(MEASURED), 1) == []
    drafter.close()
    drafter.close()


def test_what_did_not_pay_is_tried_again_rarely(draft: DraftModel) -> None:
    drafter, costs = ModelDrafter(draft, "a"), make_costs(MEASURED)
    for _ in range(40):
        drafter.observe(1, 0)
    tried = [bool(drafter.propose(as_array(PROMPT), 8, costs, 1)) for _ in range(100)]
    assert [turn for turn, did in enumerate(tried, 1) if did] == [32, 96]


def test_closing_twice_is_once(path: Path, target: NativeModel) -> None:
    draft = load_draft(path, target)
    draft.close()
    draft.close()
