"""The log stream: exact prompts, what models wrote, the server's lines, while one listens."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from lmrun.api.door import Door, Key
from lmrun.api.telemetry.feed import MAX_EVENTS
from lmrun.profile.schema import LogConfig
from lmrun.settings.secret import Secret
from tests.api.telemetry.conftest import Watched, following
from tests.support.http import wait_until


def test_it_tells_the_exact_prompt_the_output_and_its_stats(watched: Watched) -> None:
    with following(watched.port, "?source=model") as stream:
        assert watched.chat("hi there").status == 200
        prompt, output = stream.next(), stream.next()
    assert prompt["type"] == "llm.prediction.input"
    assert (prompt["model"], prompt["request_id"]) == ("a", "r-1")
    assert prompt["input"] == "<user>hi there\n"
    assert output["type"] == "llm.prediction.output"
    assert output["output"] == "Hello world"
    assert (output["stop_reason"], output["error"]) == ("eosFound", None)
    assert output["generation"] == prompt["generation"]
    assert output["stats"]["completion_tokens"] == 3
    assert 0 < output["stats"]["time_to_first_token_s"] <= output["stats"]["total_s"]


def test_a_raw_prompt_is_told_as_it_is(watched: Watched) -> None:
    with following(watched.port, "?source=model") as stream:
        watched.port.ask("POST", "/v1/completions", {"model": "a", "prompt": "Once upon"})
        assert stream.next()["input"] == "Once upon"


def test_a_stream_is_logged_like_a_whole_answer(watched: Watched) -> None:
    with following(watched.port, "?source=model") as stream:
        watched.chat("hi", stream=True)
        assert stream.until("llm.prediction.output")["output"] == "Hello world"


def test_each_choice_is_a_generation_of_its_own(watched: Watched) -> None:
    with following(watched.port, "?source=model") as stream:
        watched.chat("hi", n=2)
        numbers = [stream.until("llm.prediction.output")["generation"] for _ in range(2)]
    assert len(set(numbers)) == 2


def test_a_failure_is_told_with_what_was_written_until_then(watched: Watched) -> None:
    with following(watched.port, "?source=model") as stream:
        assert watched.chat("fail").status == 500
        output = stream.until("llm.prediction.output")
    assert output["output"] == "a"
    assert "It cannot go on." in output["error"]
    assert (output["stop_reason"], output["stats"]) == (None, None)


def leave_while_it_streams(watched: Watched) -> None:
    body = json.dumps({"model": "a", "prompt": "endless", "stream": True}).encode()
    with watched.port.connect() as sock:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost:{watched.port.number}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        sock.sendall(head.encode() + body)
        sock.recv(1)


def test_a_client_that_leaves_is_told(watched: Watched) -> None:
    with following(watched.port, "?source=model") as stream:
        leave_while_it_streams(watched)
        output = stream.until("llm.prediction.output")
    assert (output["stop_reason"], output["error"]) == (None, None)


def test_no_tokens_are_told_where_none_were_counted(watched: Watched) -> None:
    with following(watched.port, "?source=server") as stream:
        leave_while_it_streams(watched)
        fields = stream.until("server.log")["fields"]
    assert (fields["model"], fields["is_cut_off"]) == ("a", True)
    assert not {"prompt_tokens", "completion_tokens"} & set(fields)


def test_server_lines_have_their_fields(watched: Watched) -> None:
    with following(watched.port, "?source=server") as stream:
        watched.chat("hi")
        line = stream.until("server.log")
    assert line["logger"] == "lmrun.access"
    assert line["message"] == "POST /v1/chat/completions 200"
    fields = line["fields"]
    assert (fields["status"], fields["model"], fields["request_id"]) == (200, "a", "r-1")
    assert fields["completion_tokens"] == 3
    assert fields["prompt_tokens"] > 0


def test_the_servers_lines_hold_no_text_of_prompts(watched: Watched) -> None:
    with following(watched.port, "?source=server") as stream:
        watched.chat("xyzzy")
        assert "xyzzy" not in json.dumps(stream.next())


def test_earlier_lines_come_first_when_asked_for(watched: Watched) -> None:
    for _ in range(3):
        watched.chat("hi")
    wait_until(lambda: len(watched.telemetry.feed._lines) >= 3)
    with following(watched.port, "?source=server&last=2") as stream:
        assert [stream.next()["message"] for _ in range(2)] == ["POST /v1/chat/completions 200"] * 2


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("?source=prompts", "source"),
        ("?source=", "source"),
        ("?source=model,x", "source"),
        ("?last=-1", "last"),
        ("?last=1001", "last"),
        ("?last=x", "last"),
        ("?last=%D9%A1", "last"),
        ("?follow=1", "follow"),
    ],
)
def test_a_wrong_query_is_refused_by_name(watched: Watched, query: str, param: str) -> None:
    reply = watched.port.ask("GET", f"/lmrun/v1/logs{query}")
    assert (reply.status, reply.json["error"]["param"]) == (400, param)


def test_a_stream_without_news_shows_that_it_is_there(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmrun.api.telemetry.handlers.HEARTBEAT_S", 0.02)
    with watched.port.connect() as sock:
        head = f"GET /lmrun/v1/logs HTTP/1.1\r\nHost: localhost:{watched.port.number}\r\n\r\n"
        sock.sendall(head.encode())
        assert any(b": still listening" in line for line in sock.makefile("rb"))


def test_only_admins_may_listen(watched: Watched) -> None:
    keys = {scope: scope[0] * 40 for scope in ("inference", "models", "tools", "admin")}
    watched.door = Door(
        keys=tuple(Key(name, Secret(key), frozenset({name})) for name, key in keys.items())
    )
    for path in ("/lmrun/v1/logs", "/metrics"):
        assert watched.port.ask("GET", path).status == 401
        for scope in ("inference", "models", "tools"):
            assert watched.port.ask("GET", path, x_api_key=keys[scope]).status == 403
    with following(watched.port, x_api_key=keys["admin"]):
        pass


def prompts_in(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    records = [it for it in caplog.records if it.name == "lmrun.prompts"]
    return [record.fields for record in records]  # type: ignore[attr-defined]  # given as extra


def test_the_profile_can_have_prompts_kept_in_the_log(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.chat("before")
    watched.log = LogConfig(prompts=True)
    watched.chat("hi")
    watched.log = LogConfig()
    watched.chat("after")
    prompt, output = prompts_in(caplog)
    assert prompt["input"] == "<user>hi\n"
    assert output["output"] == "Hello world"
    assert (prompt["request_id"], prompt["model"]) == ("r-1", "a")


def test_nothing_is_recorded_when_nobody_listens(watched: Watched) -> None:
    assert not watched.telemetry.wants_prompts
    with following(watched.port, "?source=server"):
        assert not watched.telemetry.wants_prompts
    with following(watched.port, "?source=model"):
        assert watched.telemetry.wants_prompts
    wait_until(lambda: not watched.telemetry.wants_prompts)


def test_a_listener_that_does_not_read_slows_nobody_and_hears_what_it_lost(
    watched: Watched,
) -> None:
    log = logging.getLogger("lmrun.test")
    with following(watched.port, "?source=server") as stream:
        for n in range(3 * MAX_EVENTS):
            log.info("%d %s", n, "x" * 2000)
        assert watched.chat("hi").status == 200
        seen, lost = 0, 0
        while seen + lost < 3 * MAX_EVENTS:
            event = stream.next()
            if event["type"] == "log.lost":
                lost += event["count"]
            elif event["logger"] == "lmrun.test":
                seen += 1
    assert lost > 0
    assert seen + lost >= 3 * MAX_EVENTS
