"""A sequence's events: counts, log probabilities that fit the text, an echoed prompt."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.chat import events as chat
from lmrun.chat.events import ChatEnd, MessageDelta, PromptProgress, Usage, WorkerEvent
from lmrun.engines.base import SequenceStats, TokenLogprob
from lmrun.worker.assembly.generation import Echo, Generation


def scored(piece: bytes, number: int = 0) -> TokenLogprob:
    top = (TokenLogprob(1, b"x", -0.5), TokenLogprob(2, b"\xff", -1.5))
    return TokenLogprob(number, piece, -float(number), top)


def run(
    pieces: list[bytes], stops: tuple[str, ...] = (), echo: Echo | None = None
) -> list[list[WorkerEvent]]:
    """The events of each token, and those of the end unless a stop string came before it."""
    generation = Generation(1, stops, echo=echo, has_logprobs=True)
    events = []
    for number, piece in enumerate(pieces):
        events.append(generation.take_token(piece, scored(piece, number)))
        if events[-1] and isinstance(events[-1][-1], ChatEnd):
            return events
    return [*events, generation.finish("maxPredictedTokensReached")]


def deltas(events: list[list[WorkerEvent]]) -> list[tuple[str, list[bytes]]]:
    return [
        (event.text, [token.piece for token in event.logprobs])
        for group in events
        for event in group
        if isinstance(event, MessageDelta)
    ]


def test_usage_counts_the_tokens_of_the_stop_string() -> None:
    generation = Generation(prompt_tokens=5, stop_strings=("END",))
    assert generation.take_prompt(5, 2) == [PromptProgress(5, 5)]
    assert generation.take_token(b"hi E") == [MessageDelta("hi ")]
    assert generation.take_token(b"N") == []
    assert generation.take_token(b"D...") == [ChatEnd("stopStringFound", Usage(5, 3, 2), "END")]


def test_what_is_held_back_comes_out_at_the_end() -> None:
    generation = Generation(prompt_tokens=1, stop_strings=("END",))
    assert generation.take_token(b"E") == []
    assert generation.finish("maxPredictedTokensReached") == [
        MessageDelta("E"),
        ChatEnd("maxPredictedTokensReached", Usage(1, 1)),
    ]


def test_usage_tells_what_speculation_did() -> None:
    generation = Generation(prompt_tokens=1, stop_strings=())
    generation.take_token(b"a")
    (end,) = generation.finish("eosFound", SequenceStats(drafted=7, accepted=5))
    assert end == ChatEnd("eosFound", Usage(1, 1, drafted_tokens=7, accepted_tokens=5))


def test_usage_tells_what_speculation_did_before_a_stop_string() -> None:
    generation = Generation(prompt_tokens=5, stop_strings=("END",))
    stats = SequenceStats(drafted=7, accepted=4)
    assert generation.take_token(b"EN", end=lambda: pytest.fail("it goes on")) == []
    usage = Usage(5, 2, drafted_tokens=7, accepted_tokens=4)
    end = ChatEnd("stopStringFound", usage, "END")
    assert generation.take_token(b"D", end=lambda: stats) == [end]


@pytest.mark.parametrize(
    ("pieces", "stops", "expected"),
    [
        pytest.param([b"a", b"b"], (), [("a", [b"a"]), ("b", [b"b"])], id="plain"),
        pytest.param(
            [b"\xf0\x9f", b"\x98\x80", b"!"],
            (),
            [("😀", [b"\xf0\x9f", b"\x98\x80"]), ("!", [b"!"])],
            id="one character in two tokens",
        ),
        pytest.param([b"\xf0\x9f"], (), [("�", [b"\xf0\x9f"])], id="a character that never ends"),
        pytest.param(
            [b"a", b"EN", b"x"], ("END",), [("a", [b"a"]), ("ENx", [b"EN", b"x"])], id="false alarm"
        ),
        pytest.param(
            [b"a", b"EN", b"D"], ("END",), [("a", [b"a"])], id="stop text is not reported"
        ),
        pytest.param([b"aEN", b"D"], ("END",), [("a", [b"aEN"])], id="token partly in the text"),
        pytest.param([b"aEND"], ("END",), [("a", [b"aEND"])], id="text and stop in one token"),
        pytest.param([b"END"], ("END",), [], id="nothing but the stop string"),
        pytest.param([b"a", b"EN"], ("END",), [("a", [b"a"]), ("EN", [b"EN"])], id="cut short"),
        pytest.param([b"", b"a"], (), [("", [b""]), ("a", [b"a"])], id="a token without text"),
        pytest.param(
            [b"E", b"", b"x"], ("END",), [("Ex", [b"E", b"", b"x"])], id="one amid held-back text"
        ),
    ],
)
def test_log_probabilities_go_with_the_text_of_their_tokens(
    pieces: list[bytes], stops: tuple[str, ...], expected: list[tuple[str, list[bytes]]]
) -> None:
    assert deltas(run(pieces, stops)) == expected


@given(
    st.text(alphabet="ab€😀", max_size=20),
    st.lists(st.integers(0, 40), max_size=12),
    st.lists(st.text(alphabet="ab€", min_size=1, max_size=3), max_size=2).map(tuple),
)
def test_the_tokens_reported_are_those_that_begin_inside_the_text(
    said: str, cuts: list[int], stops: tuple[str, ...]
) -> None:
    data = said.encode()
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    pieces = [data[start:end] for start, end in pairwise(edges)]
    given_out = deltas(run(pieces, stops))
    length = len("".join(text for text, _ in given_out).encode())
    reported = [piece for _, tokens in given_out for piece in tokens]
    begins = [0, *accumulate(map(len, pieces))]
    assert reported == [
        piece for piece, begin in zip(pieces, begins, strict=False) if begin < length
    ]


def test_a_token_brings_the_likeliest_ones_and_its_place() -> None:
    (first, second, _) = run([b"\xc3\xa9a", b"b"])
    assert first == [
        MessageDelta(
            "éa",
            (
                chat.TokenLogprob(
                    b"\xc3\xa9a",
                    -0.0,
                    0,
                    (chat.TokenLogprob(b"x", -0.5), chat.TokenLogprob(b"\xff", -1.5)),
                ),
            ),
        )
    ]
    (delta,) = second
    assert isinstance(delta, MessageDelta)
    assert delta.logprobs[0].offset == 2


def test_an_echo_comes_before_the_answer_with_its_own_scores() -> None:
    echo = Echo("Hé END".encode(), b"H")
    generation = Generation(3, ("END",), echo=echo, has_logprobs=True)
    generation.take_scores([scored(b"\xc3\xa9", 1)])
    generation.take_scores([scored(b" END", 2)])
    prompt, answer = generation.take_token(b"ok", scored(b"ok", 3))
    assert isinstance(prompt, MessageDelta)
    assert isinstance(answer, MessageDelta)
    assert (prompt.text, answer.text) == ("Hé END", "ok")
    listed = [*prompt.logprobs, *answer.logprobs]
    assert [(token.piece, token.logprob, token.offset) for token in listed] == [
        (b"H", None, 0),
        (b"\xc3\xa9", -1, 1),
        (b" END", -2, 2),
        (b"ok", -3, 6),
    ]
    assert [event.text for event in generation.take_token(b"!") if isinstance(event, MessageDelta)]


def test_an_echo_without_an_answer_comes_at_the_end() -> None:
    generation = Generation(1, (), echo=Echo(b"Hi", b"Hi"))
    assert generation.finish("maxPredictedTokensReached") == [
        MessageDelta("Hi"),
        ChatEnd("maxPredictedTokensReached", Usage(1, 0)),
    ]


def test_an_echo_comes_once_even_if_the_answer_is_only_a_stop_string() -> None:
    generation = Generation(1, ("END",), echo=Echo(b"Hi", b"Hi"))
    assert generation.take_token(b"END") == [
        MessageDelta("Hi"),
        ChatEnd("stopStringFound", Usage(1, 1), "END"),
    ]
