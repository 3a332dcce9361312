"""A stop string may stand in the middle of a step: what the sequence has counted is reported all
the same."""

from __future__ import annotations

import json
from pathlib import Path
from queue import SimpleQueue

import msgspec
import pytest

from lmrun.chat.events import ChatEnd, Usage
from lmrun.engines.base import (
    LoadedModel,
    SequenceFinished,
    SequenceSpec,
    SequenceStats,
    StepEvent,
)
from lmrun.engines.registry import get_engine
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from lmrun.worker.frames import Close, Embedded, Reply, Step
from lmrun.worker.preparer import Prepared
from lmrun.worker.step_loop import Accepted, Command, StepLoop
from tests.support.instances import script

COUNTED = SequenceStats(drafted=7, accepted=4)


class Guessing:
    """A scripted model that says so much in one step, as one does whose guesses are right."""

    def __init__(self, model: LoadedModel, tokens: int) -> None:
        self._model = model
        self._tokens = tokens

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def cancel(self, sequence: int) -> SequenceStats | None:
        return self._model.cancel(sequence) and COUNTED

    def step(self) -> list[StepEvent]:
        events = [event for _ in range(self._tokens) for event in self._model.step()]
        return [
            msgspec.structs.replace(event, stats=COUNTED)
            if isinstance(event, SequenceFinished)
            else event
            for event in events
        ]


@pytest.mark.parametrize("tokens", [2, 9])
def test_guesses_are_counted_whether_or_not_the_answer_ended_in_the_step_of_its_stop_string(
    tmp_path: Path, tokens: int
) -> None:
    path = tmp_path / "m.scripted.json"
    path.write_text(json.dumps(script({"pieces": ["one", "STOP", "two"]})))
    loaded = get_engine("scripted").load(
        path, LoadConfig(), threads=1, on_progress=lambda fraction: None
    )
    inbox: SimpleQueue[Command] = SimpleQueue()
    ends: list[ChatEnd] = []

    def read(frame: Step | Embedded | Reply) -> None:
        assert isinstance(frame, Step)
        for part in frame.sequences:
            ends.extend(event for event in part.events if isinstance(event, ChatEnd))
        if ends:
            inbox.put(Close())

    spec = SequenceSpec(1, (65,), PredictionConfig(stop_strings=("STOP",)))
    inbox.put(Accepted(1))
    inbox.put(Prepared(spec, None))
    StepLoop(Guessing(loaded, tokens), inbox, read).run()  # type: ignore[arg-type]  # delegated
    usage = Usage(1, 2, drafted_tokens=7, accepted_tokens=4)
    assert ends == [ChatEnd("stopStringFound", usage, "STOP")]
