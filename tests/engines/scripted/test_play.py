"""A script is played to the letter: text, pace, failures, crashes, hangs and memory."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lmrun.engines.base import (
    LoadedModel,
    PromptProcessed,
    SequenceFailed,
    SequenceFinished,
    SequenceSpec,
    TokenProduced,
)
from lmrun.engines.scripted.model import LONGEST_WAIT_S
from lmrun.errors import LoadFailed, SettingRefused, UnsupportedParameter
from lmrun.settings.prediction import PredictionConfig
from tests.support.engines import Subject, drain, spec

ROOT = Path(__file__).parents[3]


def write_script(folder: Path, **script: Any) -> Subject:
    path = folder / "test.scripted.json"
    path.write_text(json.dumps({"replies": [{"pieces": ["a", "b"]}], **script}))
    return Subject(path)


def ask(model: LoadedModel, text: str, sequence: int = 1, **prediction: Any) -> None:
    prompt = tuple(model.tokenize(text, add_special=True, parse_special=True))
    model.add(SequenceSpec(sequence, prompt, PredictionConfig.model_validate(prediction)))


def say(model: LoadedModel, text: str) -> bytes:
    ask(model, text)
    events = drain(model)[1]
    return b"".join(event.piece for event in events if isinstance(event, TokenProduced))


def test_the_text_is_the_script_s_to_the_byte(tmp_path: Path) -> None:
    subject = write_script(
        tmp_path,
        replies=[
            {"match": "twice", "pieces": ["x", "yz"], "repeat": 2},
            {"match": "bytes", "pieces": ["\u00e9", {"hex": "f09f"}, {"hex": "9982"}, ""]},
            {"pieces": ["else"]},
        ],
    )
    with closing(subject.load()) as model:
        assert say(model, "say it twice") == b"xyzxyz"
        assert say(model, "bytes") == "\u00e9🙂".encode()
        assert say(model, "what") == b"else"


def test_sampling_settings_change_nothing(tmp_path: Path) -> None:
    with closing(write_script(tmp_path).load()) as model:
        for prediction in ({"seed": 1}, {"temperature": 0}, {"logit_bias": {97: -100.0}}):
            ask(model, "x", **prediction)
            assert len(drain(model)[1]) == 4


@pytest.mark.parametrize("finish", ["eosFound", "maxPredictedTokensReached"])
def test_the_finish_reason_is_the_script_s(tmp_path: Path, finish: str) -> None:
    subject = write_script(tmp_path, replies=[{"pieces": ["a"], "finish": finish}])
    with closing(subject.load()) as model:
        ask(model, "x")
        assert drain(model)[1][-1] == SequenceFinished(1, finish)  # type: ignore[arg-type]  # parametrised


def test_a_script_may_bound_its_replies(tmp_path: Path) -> None:
    with closing(write_script(tmp_path, max_tokens=1).load()) as model:
        ask(model, "x")
        assert drain(model)[1][-1] == SequenceFinished(1, "maxPredictedTokensReached")


def test_prompts_take_the_scripted_number_of_steps(tmp_path: Path) -> None:
    with closing(write_script(tmp_path, prompt_tokens_per_step=10).load()) as model:
        model.add(spec(1, prompt_length=25))
        assert model.step() == [PromptProcessed(1, 10)]
        assert model.step() == [PromptProcessed(1, 20)]
        assert model.step()[0] == PromptProcessed(1, 25)


def test_tokens_come_at_their_pace(tmp_path: Path) -> None:
    reply = {"pieces": ["a"] * 11, "seconds_before_first": 0.2, "seconds_per_token": 0.02}
    with closing(write_script(tmp_path, replies=[reply]).load()) as model:
        begun = time.monotonic()
        ask(model, "x")
        drain(model)
        assert 0.4 <= time.monotonic() - begun < 2


def test_a_step_with_nothing_due_returns_promptly(tmp_path: Path) -> None:
    subject = write_script(tmp_path, replies=[{"pieces": ["a"], "seconds_before_first": 60}])
    with closing(subject.load()) as model:
        ask(model, "x")
        model.step()
        waits = []
        for _ in range(5):
            begun = time.monotonic()
            assert model.step() == []
            waits.append(time.monotonic() - begun)
        assert min(waits) < 2 * LONGEST_WAIT_S


def test_steps_take_the_scripted_time(tmp_path: Path) -> None:
    with closing(write_script(tmp_path, step_seconds=0.05).load()) as model:
        ask(model, "x")
        begun = time.monotonic()
        model.step()
        assert time.monotonic() - begun >= 0.05


def test_a_failing_sequence_leaves_the_others_alone(tmp_path: Path) -> None:
    bad = {"match": "bad", "pieces": ["a"] * 9, "fail": {"after": 3, "message": "no more"}}
    subject = write_script(tmp_path, replies=[bad, {"pieces": ["a"] * 9}])
    with closing(subject.load()) as model:
        ask(model, "bad", 1)
        ask(model, "good", 2)
        events = drain(model)
        assert events[1][-1] == SequenceFailed(1, "no more")
        assert len(events[1]) == 5
        assert events[2][-1] == SequenceFinished(2, "eosFound")
        assert len(events[2]) == 11


@pytest.mark.parametrize("after", [0, 2])
def test_a_failure_may_come_first_or_last(tmp_path: Path, after: int) -> None:
    subject = write_script(tmp_path, replies=[{"pieces": ["a", "b"], "fail": {"after": after}}])
    with closing(subject.load()) as model:
        ask(model, "x")
        events = drain(model)[1]
        assert isinstance(events[-1], SequenceFailed)
        assert len(events) == after + 2


def test_a_hang_holds_the_step_once(tmp_path: Path) -> None:
    reply = {"pieces": ["a", "b"], "hang": {"after": 1, "seconds": 0.3}}
    with closing(write_script(tmp_path, replies=[reply]).load()) as model:
        ask(model, "x")
        longest, tokens = 0.0, 0
        while model.active or model.waiting:
            begun = time.monotonic()
            tokens += sum(isinstance(event, TokenProduced) for event in model.step())
            longest = max(longest, time.monotonic() - begun)
        assert longest >= 0.3
        assert tokens == 2


PLAY = """
import sys
from pathlib import Path
from lmrun.engines.base import SequenceSpec
from lmrun.engines.scripted.engine import engine
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig

path = Path(sys.argv[1])
model = engine.load(path, LoadConfig(), threads=1, on_progress=lambda fraction: None)
model.add(SequenceSpec(1, (65,), PredictionConfig()))
while model.active or model.waiting:
    for event in model.step():
        print(type(event).__name__, flush=True)
"""


def play_in_a_process(subject: Subject) -> tuple[int, int]:
    """The exit status and how many tokens were produced before it."""
    finished = subprocess.run(
        [sys.executable, "-c", PLAY, str(subject.path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return finished.returncode, finished.stdout.count("TokenProduced")


@pytest.mark.parametrize(
    ("crash", "status"),
    [
        ({"signal": signal.SIGKILL}, -signal.SIGKILL),
        ({"signal": signal.SIGABRT}, -signal.SIGABRT),
        ({"exit_code": 3}, 3),
    ],
)
def test_a_crash_ends_the_process_after_its_tokens(
    tmp_path: Path, crash: dict[str, int], status: int
) -> None:
    reply = {"pieces": ["a", "b", "c"], "crash": {"after": 2, **crash}}
    assert play_in_a_process(write_script(tmp_path, replies=[reply])) == (status, 2)


def test_a_load_may_crash(tmp_path: Path) -> None:
    subject = write_script(tmp_path, load={"crash": {"signal": signal.SIGSEGV}})
    assert play_in_a_process(subject) == (-signal.SIGSEGV, 0)


def test_a_load_takes_its_time_and_reports_it(tmp_path: Path) -> None:
    begun = time.monotonic()
    seen: list[float] = []
    write_script(tmp_path, load={"seconds": 0.2}).load(on_progress=seen.append).close()
    assert time.monotonic() - begun >= 0.2
    assert len(seen) > 10


def test_a_load_may_fail_or_refuse_a_setting(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="out of luck"):
        write_script(tmp_path, load={"error": "out of luck"}).load()
    refusal = {"param": "load.flash_attention", "message": "not here"}
    with pytest.raises(SettingRefused, match="not here") as refused:
        write_script(tmp_path, load={"refuse": refusal}).load()
    assert refused.value.param == "load.flash_attention"


def test_memory_is_really_held_and_given_back(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from lmrun.engines.scripted.engine import engine
from lmrun.settings.load import LoadConfig

def held():
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else None

before = held()
path = Path(sys.argv[1])
model = engine.load(path, LoadConfig(), threads=1, on_progress=lambda fraction: None)
during = held()
model.close()
after = held()
if before is not None:
    assert during - before > 60_000_000, (before, during)
    assert after - before < 10_000_000, (before, after)
"""
    subject = write_script(tmp_path, load={"memory_bytes": 64 * 2**20})
    command = [sys.executable, "-c", program, str(subject.path)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_hundreds_of_streams_are_cheap(tmp_path: Path) -> None:
    reply = {"pieces": ["a"], "repeat": 40, "seconds_per_token": 0.01}
    subject = write_script(tmp_path, replies=[reply])
    with closing(subject.load(max_parallel_predictions=255)) as model:
        for sequence in range(500):
            model.add(spec(sequence))
        begun = time.process_time()
        events = drain(model)
        assert sum(map(len, events.values())) == 500 * 42
        assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logprobs", 1),
        ("stop_token_ids", [3]),
        ("adapters", {"a": 1.0}),
        ("context_overflow_policy", "rollingWindow"),
    ],
)
def test_what_no_script_can_honour_is_refused_by_name(
    tmp_path: Path, name: str, value: Any
) -> None:
    with closing(write_script(tmp_path).load()) as model:
        with pytest.raises(UnsupportedParameter) as refused:
            model.add(spec(1, 5, **{name: value}))
        assert refused.value.param == name and model.waiting == 0
