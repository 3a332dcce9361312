"""`lmrun logs`: what it asks for, and what an event looks like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lmrun.cli.commands.logs import render
from lmrun.cli.terminal import _ANSI
from lmrun.store.home import Home
from tests.cli.conftest import Run
from tests.support.control import FakeServer, refusal

NOW = "2026-11-25T12:34:56.789Z"
LINE = {
    "type": "server.log",
    "time": NOW,
    "level": "info",
    "logger": "lmrun.access",
    "message": "GET /v1/models 200",
    "fields": {"method": "GET", "path": "/v1/models", "status": 200, "ms": 1.5},
}
PROMPT = {
    "type": "llm.prediction.input",
    "time": NOW,
    "generation": 7,
    "model": "a",
    "request_id": "req_1",
    "input": "<user>\nhi\n",
}
STATS = {
    "prompt_tokens": 12,
    "cached_tokens": 8,
    "completion_tokens": 3,
    "drafted_tokens": 0,
    "accepted_tokens": 0,
    "time_to_first_token_s": 0.05,
    "total_s": 0.25,
}
OUTPUT = {
    "type": "llm.prediction.output",
    "time": NOW,
    "generation": 7,
    "model": "a",
    "request_id": None,
    "output": "Hello",
    "stop_reason": "eosFound",
    "error": None,
    "stats": STATS,
}


def show(event: dict[str, Any]) -> list[str]:
    return _ANSI.sub("", render(event)).splitlines()


def test_a_server_line_is_one_line_with_its_fields() -> None:
    assert show(LINE) == ["12:34:56.789 lmrun.access: GET /v1/models 200 ms=1.5"]


def test_a_prompt_stands_below_its_head_every_line_marked() -> None:
    assert show(PROMPT) == [
        "12:34:56.789 a prompt (generation 7, req_1)",
        "  │ <user>",
        "  │ hi",
        "  │ ",
    ]


def test_an_output_has_its_stats() -> None:
    assert show(OUTPUT) == [
        "12:34:56.789 a output (generation 7; eosFound; 12 prompt tokens, 8 cached; "
        "3 generated in 0.25 s, first after 0.05 s)",
        "  │ Hello",
    ]


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({"error": "It broke.", "stats": None, "stop_reason": None}, "; failed: It broke.)"),
        ({"stats": None, "stop_reason": None}, "; its client left)"),
        ({"stats": {**STATS, "time_to_first_token_s": None}}, "generated in 0.25 s)"),
    ],
)
def test_an_output_says_how_it_ended(changes: dict[str, Any], end: str) -> None:
    assert show({**OUTPUT, **changes})[0].endswith(end)


def test_what_was_lost_and_what_is_unknown_is_said() -> None:
    assert show({"type": "log.lost", "count": 7}) == ["(7 events were too many, and are lost)"]
    assert show({"type": "something.new"}) == ["(something.new)"]


def test_no_text_of_a_model_steers_the_terminal() -> None:
    for event in (
        {**PROMPT, "input": "\x1b[2Jx"},
        {**OUTPUT, "output": "\x1b]0;x\x07", "error": "\x1b[2J"},
        {**LINE, "message": "\x1b[2J", "fields": {"x": "\x1b[2J"}},
    ):
        assert "\x1b" not in _ANSI.sub("", render(event))


@pytest.mark.parametrize(
    ("options", "query"),
    [
        ([], "source=server,model&last=10"),
        (["--prompts"], "source=model&last=10"),
        (["--server", "-n", "5"], "source=server&last=5"),
        (["--server", "--prompts", "--last", "0"], "source=server,model&last=0"),
    ],
)
def test_options_choose_what_is_asked_for(
    server: FakeServer, lmrun: Run, options: list[str], query: str
) -> None:
    assert lmrun("logs", *options).code == 0
    assert server.asked == [("GET", f"/lmrun/v1/logs?{query}", None)]


def test_it_shows_events_until_the_server_ends(server: FakeServer, lmrun: Run) -> None:
    server.logs = [LINE, PROMPT, OUTPUT]
    result = lmrun("logs")
    assert (result.code, result.err) == (0, "")
    assert [line[:22] for line in result.out.splitlines() if line[0].isdigit()] == [
        "12:34:56.789 lmrun.acc",
        "12:34:56.789 a prompt ",
        "12:34:56.789 a output ",
    ]


def test_json_is_the_events_as_they_came(server: FakeServer, lmrun: Run) -> None:
    server.logs = [LINE, PROMPT]
    result = lmrun("logs", "--json")
    assert [json.loads(line) for line in result.out.splitlines()] == [LINE, PROMPT]


def test_without_a_server_it_says_where_the_last_one_wrote(lmrun: Run, home: Path) -> None:
    result = lmrun("logs")
    assert result.code == 1
    assert result.err.startswith("Error: lmrun is not running.\nHint: `lmrun apply`")
    found = Home(home)
    found.ensure()
    found.server_log.touch()
    assert str(found.server_log) in lmrun("logs").err


def test_a_refusal_in_the_stream_is_an_error(server: FakeServer, lmrun: Run) -> None:
    server.logs = [LINE, refusal("It went wrong.")]
    result = lmrun("logs", "--json")
    assert result.code == 1
    assert "It went wrong." in result.err


@pytest.mark.parametrize("options", [["-n", "-1"], ["-n", "1001"], ["-n", "x"], ["--follow"]])
def test_a_wrong_option_is_wrong_usage(lmrun: Run, options: list[str]) -> None:
    assert lmrun("logs", *options).code == 2
