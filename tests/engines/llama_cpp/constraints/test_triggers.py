"""A lazy grammar: free until a trigger's text is there, wherever tokens split it."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from lmrun.engines.llama_cpp.constraints.triggers import Trigger
from tests.engines.llama_cpp.constraints.player import Player

TEXT = b"so: <<call>[12"
CALL = {"type": "gbnf", "grammar": 'root ::= "<call>" [0-9]{1,2} "!"', "triggers": ["<call>"]}


def search_all(trigger: Trigger, tokens: range) -> bytes | None:
    tail = b""
    for token in tokens:
        tail, begin = trigger.search(tail, token)
        if begin is not None:
            return begin
    return None


@pytest.mark.parametrize("splits", list(combinations(range(len(TEXT) + 1), 2)))
def test_a_trigger_is_found_however_tokens_split_it(splits: tuple[int, int]) -> None:
    """The grammar's text begins with the trigger and holds the rest of the token that ended it."""
    first, second = splits
    pieces = [TEXT[:first], TEXT[first:second], TEXT[second:]]
    begin = search_all(Trigger([b"<call>"], pieces, lambda begin: True), range(3))
    end = TEXT.index(b"<call>") + len(b"<call>")
    last = next(stop for stop in (first, second, len(TEXT)) if stop >= end)
    assert begin == TEXT[TEXT.index(b"<call>") : last]


@pytest.mark.parametrize(
    ("triggers", "text", "begin"),
    [
        ([b"ab", b"b"], b"xab", b"ab"),
        ([b"bcd", b"ab"], b"abcd", b"abcd"),
        ([b"bc", b"abcd"], b"abcd", b"bcd"),
        ([b"aab"], b"aaab", b"aab"),
        (["é".encode()], b"\xc3\xc3\xa9", "é".encode()),
        ([b"no"], b"nnn", None),
    ],
)
def test_the_trigger_that_is_complete_first_counts(
    triggers: list[bytes], text: bytes, begin: bytes | None
) -> None:
    whole = Trigger(triggers, [text], lambda begin: True)
    assert search_all(whole, range(1)) == begin
    single = [text[at : at + 1] for at in range(len(text))]
    found = search_all(Trigger(triggers, single, lambda begin: True), range(len(text)))
    assert (found is None) == (begin is None)
    assert begin is None or found is None or begin.startswith(found)


@pytest.mark.parametrize("tail", [b"", b"<", b"<ca"])
def test_a_token_that_goes_on_as_the_grammar_does_not_is_banned(tail: bytes) -> None:
    ends = [b"<call>1", b"<call>x", b"call>1", b"call>x", b"ll>1", b"ll>x", b"x", b""]
    trigger = Trigger([b"<call>"], ends, lambda begin: begin == b"<call>1")
    wrong = {b"": {1}, b"<": {1, 3}, b"<ca": {1, 5}}[tail]
    assert set(trigger.banned(tail).tolist()) == wrong


def say(player: Player, constraint: Any, text: str) -> None:
    for value in text.encode():
        assert player.byte_token(value) in player.allowed(constraint)
        constraint.accept(player.byte_token(value))


def test_before_the_trigger_everything_goes(player: Player) -> None:
    constraint = player.compile(**CALL)
    say(player, constraint, "any <cal text")
    assert constraint.is_complete and not constraint.must_end
    assert constraint.forced(9) == []
    assert len(player.allowed(constraint)) == player.vocabulary.size


def test_after_the_trigger_the_grammar_holds(player: Player) -> None:
    constraint = player.compile(**CALL)
    say(player, constraint, "a <<call>")
    assert not constraint.is_complete
    allowed = {player.vocabulary.piece(int(token)) for token in player.allowed(constraint)}
    assert b"1" in allowed and all(piece and piece.rstrip(b"!").isdigit() for piece in allowed)
    say(player, constraint, "12!")
    assert constraint.must_end


def test_drafts_are_counted_across_the_trigger(player: Player) -> None:
    constraint = player.compile(**CALL)
    drafted = [player.byte_token(value) for value in b"hm <call>1x2"]
    assert constraint.count_allowed(drafted) == len(b"hm <call>1")
    assert constraint.count_allowed(drafted[:5]) == 5
    say(player, constraint, "hm <call>1")
    assert constraint.count_allowed(drafted[-2:]) == 0


def test_no_token_carries_text_past_the_trigger_that_the_grammar_forbids(
    smollm2_player: Player,
) -> None:
    """Real tokens hold a brace and more: only those that go on as the grammar does may come."""
    grammar = {"type": "gbnf", "grammar": 'root ::= "{" "}"', "triggers": ["{"]}
    pieces = smollm2_player.vocabulary.piece
    constraint = smollm2_player.compile(**grammar)
    allowed = [pieces(int(token)) or b"" for token in smollm2_player.allowed(constraint)]
    braces = {piece.partition(b"{")[2] for piece in allowed if b"{" in piece}
    assert braces == {b"", b"}"}
    (both,) = smollm2_player.tokenize("{}")
    constraint.accept(both)
    assert constraint.must_end


def test_a_trigger_may_be_what_a_control_token_is_called(player: Player) -> None:
    grammar = {
        "type": "lark",
        "grammar": 'start: "<|im_start|>" /[0-9]/',
        "triggers": ["<|im_start|>"],
    }
    constraint = player.compile(**grammar)
    (token,) = player.vocabulary.tokenize("<|im_start|>", add_special=False, parse_special=True)
    constraint.accept(token)
    assert not constraint.is_complete
    say(player, constraint, "7")
    assert constraint.must_end


def test_a_trigger_that_the_grammar_does_not_begin_with_is_refused(tiny_player: Player) -> None:
    error = tiny_player.refusal(**{**CALL, "triggers": ["<call>", "<tool>"]})
    assert "'<tool>'" in str(error)
