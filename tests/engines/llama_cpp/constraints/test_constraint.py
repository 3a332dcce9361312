"""What one constraint promises step by step: forced tokens, drafts, ends, failures, threads."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from lmrun.engines.llama_cpp.constraints.compiler import ConstraintCompiler
from lmrun.engines.llama_cpp.constraints.refusals import ConstraintFailed
from lmrun.errors import EngineError, EngineMissing
from lmrun.settings.structured import RegexOutput
from tests.engines.llama_cpp.constraints.player import Player

PEOPLE = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "full_name": {"type": "string", "maxLength": 10},
            "age_in_years": {"type": "integer", "minimum": 0, "maximum": 120},
            "occupation": {"enum": ["baker", "banker", "smith"]},
        },
        "required": ["full_name", "age_in_years", "occupation"],
        "additionalProperties": False,
    },
    "minItems": 2,
    "maxItems": 2,
}


def people(player: Player) -> Any:
    return player.compile(type="json", json_schema=PEOPLE)


@pytest.mark.parametrize("seed", range(4))
def test_forced_tokens_leave_the_language_as_it_is(player: Player, seed: int) -> None:
    """Each forced token is the only text the mask allows, and both ways end in valid answers."""
    constraint, forced_tokens = people(player), 0
    said: list[int] = []
    random = np.random.default_rng(seed)
    while not constraint.must_end:
        forced = constraint.forced(50)
        data = b"".join(player.vocabulary.piece(token) or b"" for token in forced)
        allowed = [int(token) for token in player.allowed(constraint)]
        if forced:
            assert all(data.startswith(player.vocabulary.piece(t) or b"?") for t in allowed)
            assert forced[0] in allowed
        token = forced[0] if forced else int(random.choice(allowed))
        forced_tokens += bool(forced)
        player.accept(constraint, said, [token])
    assert json.loads(player.text(said))
    assert forced_tokens > 0.4 * len(said)


def test_forced_tokens_are_the_tokenizer_s_own(player: Player) -> None:
    constraint = player.compile(type="choice", choices=["the only thing that can be said"])
    forced = constraint.forced(100)
    assert forced == player.tokenize("the only thing that can be said")[: len(forced)]
    assert len(forced) >= len(player.tokenize("the only thing that can be said")) - 1
    assert constraint.forced(2) == forced[:2]
    assert constraint.forced(0) == []


def test_drafted_tokens_are_counted_and_not_accepted(player: Player) -> None:
    constraint = player.compile(type="regex", regex="abc[0-9]{2}!")
    drafted = [player.byte_token(value) for value in b"abc1x"]
    assert constraint.count_allowed(drafted) == 4
    assert constraint.count_allowed(drafted) == 4
    assert constraint.count_allowed([]) == 0
    for token in drafted[:4]:
        constraint.accept(token)
    assert constraint.count_allowed([player.byte_token(ord("7"))]) == 1


def test_every_end_is_allowed_where_the_answer_may_end_and_nowhere_else(player: Player) -> None:
    all_ends = list(player.all_ends)
    constraint = player.compile(type="regex", regex="ab?")
    assert not constraint.is_complete
    assert player.ends(player.allowed(constraint)) == []
    constraint.accept(player.byte_token(ord("a")))
    assert constraint.is_complete and not constraint.must_end
    assert player.ends(player.allowed(constraint)) == all_ends
    constraint.accept(player.byte_token(ord("b")))
    assert constraint.must_end and constraint.is_complete
    assert player.allowed(constraint).tolist() == all_ends
    assert constraint.forced(5) == []


def test_control_tokens_are_no_text(player: Player) -> None:
    constraint = player.compile(type="regex", regex="(?s:.*)")
    allowed = player.allowed(constraint)
    texts = np.setdiff1d(allowed, player.all_ends)
    assert len(texts) and all(player.vocabulary.piece(int(token)) for token in texts)


def test_logits_that_are_out_stay_out(tiny_player: Player) -> None:
    logits = np.full(tiny_player.vocabulary.size, -np.inf, dtype=np.float32)
    tiny_player.compile(type="regex", regex="a").apply(logits)
    assert np.all(np.isneginf(logits))


def test_a_token_that_is_not_allowed_breaks_the_constraint_for_good(tiny_player: Player) -> None:
    constraint = tiny_player.compile(type="regex", regex="a")
    with pytest.raises(ConstraintFailed):
        constraint.accept(tiny_player.byte_token(ord("x")))
    logits = np.zeros(tiny_player.vocabulary.size, dtype=np.float32)
    for use in (
        lambda: constraint.apply(logits),
        lambda: constraint.forced(1),
        lambda: constraint.must_end,
        lambda: constraint.is_complete,
        lambda: constraint.count_allowed([0]),
    ):
        with pytest.raises(EngineError):
            use()


def test_a_limit_that_is_hit_on_the_way_is_a_failure_and_no_end(tiny_player: Player) -> None:
    """This grammar's rows grow without bound: llguidance stops, the answer must not look whole."""
    constraint = tiny_player.compile(type="gbnf", grammar="root ::= (([a-z]*)* ([a-z]*)*)*")
    with pytest.raises(ConstraintFailed, match="items"):
        for _ in range(2000):
            tiny_player.allowed(constraint)
            constraint.accept(tiny_player.byte_token(ord("a")))
            assert not constraint.must_end


def test_constraints_are_compiled_from_many_threads(tiny_player: Player) -> None:
    compiler = ConstraintCompiler(tiny_player.vocabulary)
    structured = RegexOutput(type="regex", regex="[ab]{3}")
    with ThreadPoolExecutor(8) as pool:
        constraints = list(pool.map(compiler.compile, [structured] * 32))
    answers = {tiny_player.play(constraint, seed) for seed, constraint in enumerate(constraints)}
    assert len(answers) > 4 and all(len(answer) == 3 for answer in answers)


def test_without_llguidance_the_error_names_it(
    tiny_player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(EngineMissing, match="llguidance"):
        ConstraintCompiler(tiny_player.vocabulary).compile(RegexOutput(type="regex", regex="a"))
