"""The audit log: whole lines in a private file, whatever happens around it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmrun.tools.policy.audit import AuditedCall, AuditLog, Decided, Ended
from lmrun.tools.tool import Caller
from tests.support.small_disk import SmallDisk, small_disk

DECIDED = Decided("ask", True, "because", 3, "once")
ENDED = Ended(None, 10, 0.5)


def a_call(id: str = "1", tool: str = "rm") -> AuditedCall:
    return AuditedCall(Caller("cli", run="r"), id, tool, "d" * 64)


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with small_disk() as disk:
        yield disk


def test_a_line_is_there_for_everybody_at_once_and_only_for_this_user(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    log = AuditLog(file)
    log.note_decision(a_call(), DECIDED)
    (line,) = read(file)
    assert list(line) == [
        *("time", "event", "door", "key", "agent", "model", "run", "call", "tool", "arguments"),
        *("decision", "allowed", "answer", "reason", "rule", "tainted"),
    ]
    assert line["time"].endswith("+00:00")
    assert file.stat().st_mode & 0o777 == 0o600
    log.note_end(a_call(), ENDED)
    assert read(file)[1] | {"time": ""} == {
        **{name: line[name] for name in list(line)[2:10]},
        "time": "",
        "event": "result",
        "error": None,
        "bytes": 10,
        "ms": 500.0,
    }
    log.close()


def test_a_file_that_others_could_read_becomes_private(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.touch(0o644)
    log = AuditLog(file)
    log.note_end(a_call(), ENDED)
    assert file.stat().st_mode & 0o777 == 0o600
    log.close()


def test_nothing_that_was_there_is_changed(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    for _ in range(2):
        log = AuditLog(file)
        before = file.read_bytes() if file.exists() else b""
        log.note_end(a_call(), ENDED)
        log.close()
        assert file.read_bytes().startswith(before)
    assert len(read(file)) == 2


def test_a_line_that_was_torn_by_a_power_cut_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_bytes(b'{"time": "20')
    log = AuditLog(file)
    log.note_end(a_call(), ENDED)
    log.close()
    torn, line = file.read_text().splitlines()
    assert torn == '{"time": "20'
    assert json.loads(line)["call"] == "1"


def test_whatever_models_and_servers_call_things_stays_on_one_short_line(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    log = AuditLog(file)
    log.note_end(a_call('x\n{"event": 1}\ud800\x1b[2J', "t" * 100_000), ENDED)
    log.close()
    (line,) = read(file)
    assert line["call"] == 'x\n{"event": 1}\ud800\x1b[2J'
    assert file.stat().st_size < 2000
    assert b"\x1b" not in file.read_bytes()


def test_a_full_file_is_put_aside_and_no_line_is_lost(tmp_path: Path) -> None:
    file, aside = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    log = AuditLog(file, max_bytes=2000)
    for number in range(12):
        log.note_end(a_call(str(number)), ENDED)
        if number == 11:
            break
        assert file.stat().st_size <= 2000
    log.close()
    kept = [line["call"] for it in (aside, file) for line in read(it)]
    assert kept == [str(number) for number in range(12 - len(kept), 12)]
    assert len(kept) > 5
    assert aside.stat().st_mode & 0o777 == 0o600
    assert sorted(it.name for it in tmp_path.iterdir()) == [file.name, aside.name]


def test_a_line_longer_than_a_file_may_be_is_written_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    log = AuditLog(file, max_bytes=10)
    for number in range(3):
        log.note_end(a_call(str(number)), ENDED)
    log.close()
    assert [line["call"] for line in read(file)] == ["2"]


def test_a_removed_file_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    log = AuditLog(file)
    log.note_end(a_call("1"), ENDED)
    file.unlink()
    log.note_end(a_call("2"), ENDED)
    log.close()
    assert [line["call"] for line in read(file)] == ["2"]


def test_lines_of_several_threads_and_processes_stay_whole(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    logs = [AuditLog(file), AuditLog(file)]

    def write(log: AuditLog, name: str) -> None:
        for number in range(200):
            log.note_end(a_call(f"{name}-{number}"), ENDED)

    threads = [
        threading.Thread(target=write, args=(log, f"{index}{it}"))
        for index, log in enumerate(logs)
        for it in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for log in logs:
        log.close()
    assert len({line["call"] for line in read(file)}) == 800


def test_a_full_disk_breaks_no_call_and_is_said_once(
    disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    file = disk.path / "audit.jsonl"
    log = AuditLog(file)
    log.note_end(a_call("before"), ENDED)
    disk.fill()
    for _ in range(100):
        log.note_end(a_call("lost" * 100), ENDED)
    said = [record for record in caplog.records if "cannot be written" in record.message]
    assert len(said) == 1
    assert "No space left on device; calls go on" in said[0].message
    disk.make_room()
    log.note_end(a_call("after"), ENDED)
    log.close()
    whole = []
    for line in file.read_text().splitlines():
        try:
            whole.append(json.loads(line)["call"])
        except json.JSONDecodeError:
            assert line.startswith('{"time"')
    assert (whole[0], whole[-1]) == ("before", "after")
    assert "is written again; it lacks" in caplog.text


def test_a_file_that_cannot_be_made_breaks_no_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(tmp_path / "nowhere" / "audit.jsonl")
    for _ in range(3):
        log.note_end(a_call(), ENDED)
    assert len(caplog.records) == 1
    assert "No such file or directory; calls go on" in caplog.text
    (tmp_path / "nowhere").mkdir()
    log.note_end(a_call(), ENDED)
    log.close()
    assert len(read(tmp_path / "nowhere" / "audit.jsonl")) == 1


def test_a_line_costs_microseconds(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    times = []
    for _ in range(500):
        begin = time.perf_counter()
        log.note_decision(a_call(), DECIDED)
        times.append(time.perf_counter() - begin)
    log.close()
    assert sorted(times)[len(times) // 2] < 100e-6


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    log = AuditLog(tmp_path / "audit.jsonl", max_bytes=300)
    for _ in range(10):
        log.note_end(a_call(), ENDED)
    log.close()
    assert len(os.listdir("/dev/fd")) == before
