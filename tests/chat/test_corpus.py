"""Recorded outputs of models are read as what they are, however they come and wherever they end."""

from __future__ import annotations

import json

import pytest

from lmrun.chat.answer import Answer
from tests.chat.recordings import Recording, read, read_recordings

RECORDINGS = read_recordings()
each_recording = pytest.mark.parametrize(
    "recording", RECORDINGS, ids=[recording.name for recording in RECORDINGS]
)


def said(answer: Answer) -> tuple[str, str, list[tuple[str, str]]]:
    calls = [(call.name, call.arguments) for call in answer.tool_calls]
    return answer.text, answer.reasoning, calls


@each_recording
def test_a_whole_output_is_read_as_what_it_is(recording: Recording) -> None:
    recording.check(read(recording.make_parser(), [recording.output], recording.reason))


@each_recording
def test_however_an_output_is_split_it_says_the_same(recording: Recording) -> None:
    """In two chunks everywhere, in single characters, and in pieces as long as tokens."""
    output = recording.output
    whole = said(read(recording.make_parser(), [output]))
    for at in range(len(output) + 1):
        assert said(read(recording.make_parser(), [output[:at], output[at:]])) == whole, at
    for size in (1, 3, 4, 7):
        pieces = [output[at : at + size] for at in range(0, len(output), size)]
        assert said(read(recording.make_parser(), pieces)) == whole, size


@each_recording
def test_an_output_may_end_at_every_byte(recording: Recording) -> None:
    """Then it says what it said so far: arguments that began are the beginning of the whole ones,
    closed where nothing else could close them, and the reason of the end stays, whatever is
    complete."""
    whole = read(recording.make_parser(), [recording.output])
    encoded = recording.output.encode()
    for end in range(len(encoded)):
        output = encoded[:end].decode(errors="ignore")
        answer = read(recording.make_parser(), [output], "maxPredictedTokensReached")
        assert answer.end is not None
        assert answer.end.stop_reason == "maxPredictedTokensReached"
        for cut, call in zip(answer.tool_calls, whole.tool_calls, strict=False):
            if cut.name == call.name:
                begun = cut.arguments.removesuffix('"}')
                assert call.arguments.startswith(begun) or whole.text
        assert len(answer.text) <= len(output)


@each_recording
def test_a_model_may_end_at_every_byte_and_then_every_call_can_be_made(
    recording: Recording,
) -> None:
    """What it left incomplete is something it says, however it came."""
    encoded = recording.output.encode()
    for end in range(len(encoded)):
        output = encoded[:end].decode(errors="ignore")
        answer = read(recording.make_parser(), [output])
        for call in answer.tool_calls:
            assert isinstance(json.loads(call.arguments), dict), output
        assert answer.end is not None
        asks = bool(answer.tool_calls)
        assert answer.end.stop_reason == ("toolCalls" if asks else "eosFound"), output
        assert said(read(recording.make_parser(), [*output])) == said(answer)
