"""Following and answering questions of MCP servers over a real unix socket."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lmrun.errors import LmrunError
from lmrun.tools.mcp.answering.questions import Elicitation, Elicited
from lmrun.tools.mcp.reports import ElicitationAsked, ElicitationClosed
from tests.support.questions import Questions, serving_questions

SIZE = {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}
QUESTION = Elicitation("shop", "Which size?", schema=SIZE)
PATH = "/lmrun/v1/elicitations"


@pytest.fixture
def questions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Questions]:
    with serving_questions(tmp_path_factory.mktemp("home")) as questions:
        yield questions


class Follower:
    """A connection that follows from its making on."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(path))
        self._socket.sendall(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self.response = http.client.HTTPResponse(self._socket)
        self.response.begin()

    def read_event(self) -> bytes:
        while not (line := self.response.readline()).startswith(b"data:"):
            assert line, "the stream ended"
        return line

    def close(self) -> None:
        self.response.close()
        self._socket.close()


def follow(questions: Questions) -> Follower:
    follower = Follower(questions.control._path)
    assert follower.response.status == 200
    assert follower.response.readline() == b": following\n", "headers only once somebody is there"
    return follower


def test_a_question_is_followed_and_answered(questions: Questions) -> None:
    with questions.control.elicitations() as events:
        answer = questions.ask(QUESTION)
        asked = next(events)
        assert asked == ElicitationAsked("elicit_1", "shop", "Which size?", SIZE)
        questions.control.answer_elicitation(asked.id, "accept", {"size": 44})
        assert answer.result(10) == Elicited("accept", {"size": 44})
        assert next(events) == ElicitationClosed("elicit_1")


def test_nobody_connected_means_no(questions: Questions) -> None:
    assert questions.ask(QUESTION).result(10) == Elicited("decline")


def test_whoever_disconnects_is_not_there_any_more(questions: Questions) -> None:
    first, second = follow(questions), follow(questions)
    answer = questions.ask(QUESTION)
    first.close()
    assert b"elicit_1" in second.read_event()
    assert not answer.done()
    second.close()
    assert answer.result(10) == Elicited("decline")


def test_a_question_that_is_given_up_is_told_so(questions: Questions) -> None:
    with questions.control.elicitations() as events:
        answer = questions.ask(QUESTION)
        asked = next(events)
        answer.cancel()
        assert next(events) == ElicitationClosed(asked.id)


def refuse(questions: Questions, id: str, body: Any) -> tuple[str, str]:
    """The code and the words of what must be refused."""
    with pytest.raises(LmrunError) as refused:
        questions.control._request("POST", f"elicitations/{id}", body)
    return refused.value.code, refused.value.message


@pytest.mark.parametrize("id", ["elicit_1", "elicit_0", "x", "x%00", "x" * 3000])
def test_a_closed_question_is_not_found(questions: Questions, id: str) -> None:
    with closing(follow(questions)) as follower:
        answer = questions.ask(QUESTION)
        follower.read_event()
        questions.control.answer_elicitation("elicit_1", "decline", {})
        assert answer.result(10) == Elicited("decline", {})
        code, message = refuse(questions, id, {"action": "decline"})
        assert code == "elicitation_not_found"
        assert len(message) < 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"action": "accept"}, "size"),
        ({"action": "accept", "content": {"size": "L"}}, '`size` is "L": it must be an integer.'),
        ({"action": "accept", "content": [44]}, "content"),
        ({"action": "yes"}, "action"),
        ({}, "action"),
        ({"action": "accept", "content": {"size": 1}, "command": ["sh"]}, "command"),
        ([], "body"),
    ],
)
def test_what_is_no_answer_is_refused_and_can_be_mended(
    questions: Questions, body: Any, words: str
) -> None:
    with closing(follow(questions)) as follower:
        answer = questions.ask(QUESTION)
        follower.read_event()
        code, message = refuse(questions, "elicit_1", body)
        assert (code, words in message) == ("invalid_parameter", True), message
        assert not answer.done()
        questions.control.answer_elicitation("elicit_1", "accept", {"size": 44})
        assert answer.result(10) == Elicited("accept", {"size": 44})


def test_a_server_that_ends_ends_the_stream(questions: Questions) -> None:
    with questions.control.elicitations() as events:
        answer = questions.ask(QUESTION)
        next(events)
        questions.close()
        assert list(events) == []
        assert answer.result(10) == Elicited("decline")
