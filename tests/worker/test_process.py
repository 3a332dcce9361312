"""The worker as a process: its protocol, its threads, its end."""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any, Literal

import pytest

from lmrun.chat.events import ChatEnd, MessageDelta, PromptProgress, PromptText, Usage
from lmrun.chat.messages import Conversation, Message
from lmrun.worker.frames import (
    MAX_BYTES_TO_WORKER,
    Cancel,
    Close,
    Generate,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Step,
    Threads,
    encode,
)
from tests.support.instances import ENDLESS, script
from tests.support.worker import events_of, open_worker, parts_of

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel offers it on Linux")


HELLO = Conversation((Message("user", "hi"),))


def write(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "m.scripted.json"
    path.write_text(json.dumps(content))
    return path


def is_idle(step: Step) -> bool:
    return step.active + step.waiting == 0


def ends(id: int) -> Any:
    def is_end(step: Step) -> bool:
        return any(
            part.id == id and (part.error or isinstance(part.events[-1], ChatEnd))
            for part in step.sequences
        )

    return is_end


@pytest.mark.parametrize(("report", "is_whole"), [("tail", False), ("all", True)])
def test_a_worker_says_what_its_template_made_of_a_conversation(
    tmp_path: Path, report: Literal["tail", "all"], is_whole: bool
) -> None:
    path = write(tmp_path, script({"pieces": ["Hello"]}))
    long = Conversation((Message("user", "x" * 1000),))
    with open_worker(path) as worker:
        worker.send(Generate(1, long, {}, reports_prompt=report))
        first, *_ = events_of(worker.until(ends(1)), 1)
    assert isinstance(first, PromptText)
    assert first.is_whole == is_whole
    assert first.text.endswith("x<|im_end|>\n<|im_start|>assistant\n")
    assert first.text.startswith("<|im_start|>user") == is_whole


def test_a_sequence_is_told_in_order(tmp_path: Path) -> None:
    path = write(tmp_path, script({"pieces": ["Hel", "lo", "!"]}))
    with open_worker(path) as worker:
        worker.start(1, "hi")
        steps = worker.until(ends(1))
        assert events_of(steps, 1) == [
            PromptProgress(2, 2),
            MessageDelta("Hel"),
            MessageDelta("lo"),
            MessageDelta("!"),
            ChatEnd("eosFound", Usage(2, 3)),
        ]
        worker.send(Close())
        assert worker.wait() == (0, "")


def test_a_character_in_two_tokens_is_one_delta(tmp_path: Path) -> None:
    path = write(tmp_path, script({"pieces": [{"hex": "f09f"}, {"hex": "9880"}, {"hex": "ff"}]}))
    with open_worker(path) as worker:
        worker.start(1, "hi")
        deltas = [e for e in events_of(worker.until(ends(1)), 1) if isinstance(e, MessageDelta)]
        assert deltas == [MessageDelta("😀"), MessageDelta("�")]


def test_a_stop_string_ends_the_sequence_in_the_same_step(tmp_path: Path) -> None:
    path = write(tmp_path, script({"pieces": ["one S", "TO", "P two"], "repeat": 1000}))
    with open_worker(path) as worker:
        worker.start(1, "hi", stop_strings=["STOP"])
        steps = worker.until(ends(1))
        assert events_of(steps, 1)[1:] == [
            MessageDelta("one "),
            ChatEnd("stopStringFound", Usage(2, 3), "STOP"),
        ]
        assert is_idle(steps[-1])


def test_the_template_makes_the_prompt(tmp_path: Path) -> None:
    yes, no = {"match": "^A:hi$", "pieces": ["yes"]}, {"pieces": ["no"]}
    template = "{% for m in messages %}A:{{ m.content }}{% endfor %}"
    path = write(tmp_path, script(yes, no, chat_template=template))
    with open_worker(path) as worker:
        worker.start(1, HELLO)
        assert MessageDelta("yes") in events_of(worker.until(ends(1)), 1)


def test_a_model_without_a_template_says_so_and_still_completes(tmp_path: Path) -> None:
    path = write(tmp_path, script({"pieces": ["x"]}, chat_template=None))
    with open_worker(path) as worker:
        worker.start(1, HELLO)
        worker.start(2, "hi")
        steps = worker.until(ends(1)) + worker.until(ends(2))
        error = parts_of(steps, 1)[-1].error
        assert error is not None
        assert error.code == "template_failed"
        assert "has no chat template" in error.message


@pytest.mark.parametrize(
    ("prompt", "code", "param"),
    [("", "invalid_parameter", "prompt"), ("x" * 64, "context_length_exceeded", "prompt")],
)
def test_a_prompt_that_cannot_run_is_refused_with_its_reason(
    tmp_path: Path, prompt: str, code: str, param: str
) -> None:
    path = write(tmp_path, {"replies": [{"pieces": ["x"]}], "context_length": 64})
    with open_worker(path) as worker:
        worker.start(1, prompt)
        error = parts_of(worker.until(ends(1)), 1)[-1].error
        assert error is not None
        assert (error.code, error.param) == (code, param)


def test_a_sequence_that_fails_leaves_the_others_alone(tmp_path: Path) -> None:
    failing = {"match": "bad", "pieces": ["x"], "fail": {"after": 1, "message": "no luck"}}
    path = write(tmp_path, script(failing, {"pieces": ["y"], "repeat": 50}))
    with open_worker(path) as worker:
        worker.start(1, "good")
        worker.start(2, "bad")
        steps = worker.until(ends(1))
        error = parts_of(steps, 2)[-1].error
        assert error is not None
        assert (error.code, error.message) == ("engine_error", "no luck")
        assert sum(isinstance(e, MessageDelta) for e in events_of(steps, 1)) == 50


def test_a_hostile_template_does_not_disturb_a_running_sequence(tmp_path: Path) -> None:
    template = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    path = write(tmp_path, script(ENDLESS, chat_template=template))
    with open_worker(path) as worker:
        worker.start(1, "hi")
        worker.until(lambda step: bool(events_of([step], 1)))
        worker.start(2, HELLO)
        gaps: list[float] = []
        steps: list[Step] = []
        last = time.monotonic()
        while not parts_of(steps, 2):
            steps += worker.until(lambda step: bool(step.sequences))
            now = time.monotonic()
            gaps.append(now - last)
            last = now
        error = parts_of(steps, 2)[-1].error
        assert error is not None
        assert error.code == "template_failed"
        assert len(events_of(steps, 1)) >= 100
        assert max(gaps) < 0.3


@pytest.mark.parametrize("moment", ["queued", "prefill", "first token", "mid-stream", "rendering"])
def test_a_cancel_frees_the_sequence_within_a_step(tmp_path: Path, moment: str) -> None:
    template = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    path = write(
        tmp_path,
        script(ENDLESS, prompt_tokens_per_step=1, step_seconds=0.01, chat_template=template),
    )
    with open_worker() as worker:
        worker.load(path, config={"max_parallel_predictions": 1})
        if moment == "queued":
            worker.start(1, "running")
            worker.until(lambda step: step.active == 1)
        if moment == "rendering":
            worker.start(2, HELLO)
            worker.until(lambda step: step.waiting == 1)
        else:
            worker.start(2, "x" * (1000 if moment == "prefill" else 2))
        reached = {
            "queued": lambda step: step.waiting == 1,
            "prefill": lambda step: PromptProgress(5, 1000) in events_of([step], 2),
            "first token": lambda step: bool(parts_of([step], 2)) and step.active == 1,
            "mid-stream": lambda step: MessageDelta("tick ") in events_of([step], 2),
        }
        if moment in reached:
            worker.until(reached[moment])
        worker.send(Cancel(2))
        if moment == "queued":
            worker.send(Cancel(1))
        started = time.monotonic()
        steps = worker.until(is_idle)
        assert time.monotonic() - started < 0.25
        assert len(events_of(steps, 2)) <= 2
        worker.start(3, "x")
        after = worker.until(lambda step: MessageDelta("tick ") in events_of([step], 3))
        assert events_of(after, 2) == []


def test_cancelling_what_is_unknown_or_over_is_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, script({"pieces": ["x"]}))
    with open_worker(path) as worker:
        worker.start(1, "hi")
        worker.until(ends(1))
        worker.send(Cancel(1))
        worker.send(Cancel(99))
        worker.send(Threads(3))
        worker.start(2, "hi")
        assert MessageDelta("x") in events_of(worker.until(ends(2)), 2)


def test_an_idle_worker_sends_heartbeats(tmp_path: Path) -> None:
    with open_worker(write(tmp_path, script({"pieces": ["x"]}))) as worker:
        started = time.monotonic()
        worker.until(is_idle)
        worker.until(is_idle)
        assert 1.0 < time.monotonic() - started < 3.5


def test_a_fast_model_shares_frames_and_a_slow_one_does_not(tmp_path: Path) -> None:
    fast = {"match": "fast", "pieces": ["x"], "repeat": 2000}
    slow = {"pieces": ["x"], "repeat": 30, "seconds_per_token": 0.04}
    with open_worker(write(tmp_path, script(fast, slow))) as worker:
        worker.start(1, "fast")
        assert len(worker.until(ends(1))) < 2000 / 8
        worker.start(2, "slow")
        assert len(worker.until(ends(2))) >= 30


def test_a_load_reports_progress_up_to_the_end(tmp_path: Path) -> None:
    path = write(tmp_path, script({"pieces": ["x"]}, load={"seconds": 0.3}))
    with open_worker() as worker:
        worker.send(Load("scripted", str(path), {}, 1))
        frames = [worker.read()]
        while isinstance(frames[-1], LoadProgress):
            frames.append(worker.read())
        fractions = [frame.fraction for frame in frames if isinstance(frame, LoadProgress)]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0
        assert 3 <= len(fractions) <= 10
        assert isinstance(frames[-1], Loaded)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"replies": []}, "model_invalid"),
        (script({"pieces": ["x"]}, load={"error": "no"}), "load_failed"),
        (
            script({"pieces": ["x"]}, load={"refuse": {"param": "load.gpu", "message": "no GPU"}}),
            "setting_refused",
        ),
    ],
)
def test_a_load_that_fails_says_why_and_ends(
    tmp_path: Path, content: dict[str, Any], code: str
) -> None:
    with open_worker() as worker:
        frame = worker.load(write(tmp_path, content))
        assert isinstance(frame, LoadFailed)
        assert frame.error.code == code
        assert worker.wait() == (0, "")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(struct.pack(">I", MAX_BYTES_TO_WORKER + 1), id="too long"),
        pytest.param(struct.pack(">I", 3) + b"abc", id="no frame"),
        pytest.param(encode(LoadProgress(0.1)), id="wrong direction"),
        pytest.param(encode(Cancel(1)), id="not a Load first"),
    ],
)
def test_a_bad_first_frame_ends_the_worker(data: bytes) -> None:
    with open_worker() as worker:
        worker.socket.sendall(data)
        code, errors = worker.wait()
        assert code == 76
        assert errors.startswith("lmrun.worker: protocol: ")


def test_a_bad_frame_mid_stream_ends_the_worker(tmp_path: Path) -> None:
    with open_worker(write(tmp_path, script(ENDLESS))) as worker:
        worker.start(1, "hi")
        worker.until(lambda step: step.active == 1)
        worker.socket.sendall(b"\xff" * 64)
        code, errors = worker.wait()
        assert (code, "over the limit" in errors) == (76, True)


def test_the_worker_ends_at_once_when_the_socket_closes_in_the_middle_of_a_step(
    tmp_path: Path,
) -> None:
    hanging = {"pieces": ["x"], "hang": {"after": 1}}
    with open_worker(write(tmp_path, script(hanging))) as worker:
        worker.start(1, "hi")
        worker.until(lambda step: bool(events_of([step], 1)))
        worker.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            worker.read()
        worker.socket.close()
        started = time.monotonic()
        assert worker.wait() == (0, "")
        assert time.monotonic() - started < 0.5


def test_a_bug_in_the_step_loop_ends_the_worker_with_a_traceback(tmp_path: Path) -> None:
    with open_worker(write(tmp_path, script(ENDLESS))) as worker:
        worker.start(1, "hi", temperature="hot")
        code, errors = worker.wait()
        assert code == 70
        assert "Traceback" in errors


@linux_only
def test_the_worker_is_a_well_behaved_child(tmp_path: Path) -> None:
    with open_worker(write(tmp_path, script({"pieces": ["x"]}))) as worker:
        proc = Path("/proc") / str(worker.process.pid)
        limits = (proc / "limits").read_text().splitlines()
        core = next(line for line in limits if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
        assert os.getsid(worker.process.pid) == worker.process.pid
        assert os.readlink(proc / "fd" / "0") == "/dev/null"
        assert int((proc / "oom_score_adj").read_text()) >= 500
