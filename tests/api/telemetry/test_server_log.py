"""The server's log: what a line looks like, for people and for machines, and who gets it."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from lmrun.api.telemetry.events import ServerLogged
from lmrun.api.telemetry.feed import Feed
from lmrun.api.telemetry.prompts import PROMPT_LOGGER
from lmrun.api.telemetry.server_log import LogOutput, feeding, is_output, to_json, to_line
from lmrun.profile.schema import LogConfig


def make_record(
    message: str = "hello", level: int = logging.INFO, **more: Any
) -> logging.LogRecord:
    record = logging.LogRecord("lmrun.test", level, "file.py", 1, message, (), None)
    record.created = 1_795_608_000.123
    for name, value in more.items():
        setattr(record, name, value)
    return record


def test_a_line_has_time_level_name_words_and_fields() -> None:
    fields = {"method": "GET", "status": 200, "ms": 1.5, "key": "my key", "peer": "::1"}
    assert to_line(make_record("GET / 200", fields=fields)) == (
        '2026-11-25T12:00:00.123Z info    lmrun.test: GET / 200 ms=1.5 key="my key" peer=::1'
    )


@pytest.mark.parametrize(
    "value", ["a\nINFO evil", "a b", 'a"b', "a=b", "", "\x1b[31m", "é\u2028", {"x": "\n"}]
)
def test_no_value_ends_a_line_or_looks_like_another_field(value: Any) -> None:
    line = to_line(make_record(fields={"x": value}))
    text = line.partition(" x=")[2]
    assert line.count("\n") == 0 and line.isprintable()
    assert json.loads(text) == value


def test_json_is_one_object_per_line_with_the_fields_beside_the_message() -> None:
    line = to_json(make_record("a\nb", fields={"status": 200, "model": "é"}))
    assert line.isascii() and "\n" not in line
    assert json.loads(line) == {
        "time": "2026-11-25T12:00:00.123Z",
        "level": "info",
        "logger": "lmrun.test",
        "message": "a\nb",
        "status": 200,
        "model": "é",
    }


def test_half_a_surrogate_pair_is_no_reason_to_fail() -> None:
    assert json.loads(to_json(make_record("\ud800")))["message"] == "\ud800"


def test_an_exception_comes_with_its_traceback() -> None:
    try:
        raise ValueError("deep inside")
    except ValueError:
        record = make_record("it failed", exc_info=sys.exc_info())
    assert to_line(record).splitlines()[-1] == "ValueError: deep inside"
    assert "ValueError: deep inside" in json.loads(to_json(record))["exception"]


def test_level_and_form_follow_the_profile_from_one_line_to_the_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = LogOutput()
    output.setStream(sys.stderr)
    config = [LogConfig()]
    output.config = lambda: config[0]
    output.handle(make_record("one"))
    config[0] = LogConfig(level="warning", format="json")
    output.handle(make_record("two"))
    output.handle(make_record("three", logging.ERROR))
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("one")
    assert json.loads(second)["message"] == "three"


def listen(config: LogConfig, log: Any) -> list[Any]:
    """What a feed gets of what `log` does."""

    async def run() -> list[Any]:
        feed = Feed()
        with feeding(feed, lambda: config), feed.listening({"server"}) as listener:
            log()
            heard = []
            while (event := await listener.next(0.05)) is not None:
                heard.append(event)
            return heard

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def _logging_at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_listeners_get_the_same_lines_down_to_the_same_level() -> None:
    def log() -> None:
        logging.getLogger("lmrun.a").info("quiet", extra={"fields": {"x": 1}})
        logging.getLogger("lmrun.a").warning("loud %d", 2, extra={"fields": {"x": 1}})

    (only,) = listen(LogConfig(level="warning"), log)
    assert isinstance(only, ServerLogged)
    assert (only.level, only.logger, only.message) == ("warning", "lmrun.a", "loud 2")
    assert only.fields == {"x": 1}


def test_what_other_threads_log_arrives_too() -> None:
    def log() -> None:
        thread = threading.Thread(target=lambda: logging.getLogger("lmrun").info("from afar"))
        thread.start()
        thread.join()

    assert [event.message for event in listen(LogConfig(), log)] == ["from afar"]


def test_prompts_in_the_log_are_not_the_servers_own_lines() -> None:
    assert listen(LogConfig(), lambda: logging.getLogger(PROMPT_LOGGER).info("secret")) == []


def test_what_cannot_be_sent_is_shown_escaped() -> None:
    (only,) = listen(LogConfig(), lambda: logging.getLogger("lmrun").info("a\ud800b"))
    assert only.message == "a\\ud800b"


def test_only_the_file_behind_standard_error_is_the_output(tmp_path: Path) -> None:
    other = tmp_path / "other.log"
    assert not is_output(other)
    other.touch()
    assert not is_output(other)
