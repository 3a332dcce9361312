"""An idle worker keeps house in small pieces, and a command never waits for more than one."""

from __future__ import annotations

import json
from pathlib import Path
from queue import SimpleQueue

from lmrun.engines.base import EngineUsage, LoadedModel
from lmrun.engines.registry import get_engine
from lmrun.settings.load import LoadConfig
from lmrun.worker.frames import Close, Step
from lmrun.worker.step_loop import Command, StepLoop
from tests.support.instances import script


class Resting:
    """A scripted model that has housekeeping for ever, and is told to close during it."""

    def __init__(self, model: LoadedModel, inbox: SimpleQueue[Command], pieces: int) -> None:
        self._model = model
        self._inbox = inbox
        self._pieces = pieces
        self.rested = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def usage(self) -> EngineUsage:
        return EngineUsage(kv_tokens=self.rested)

    def rest(self) -> bool:
        self.rested += 1
        if self.rested == self._pieces:
            self._inbox.put(Close())
        return True


def test_housekeeping_goes_on_piece_by_piece_until_a_command_comes(tmp_path: Path) -> None:
    path = tmp_path / "m.scripted.json"
    path.write_text(json.dumps(script({"pieces": ["x"]})))
    inbox: SimpleQueue[Command] = SimpleQueue()
    loaded = get_engine("scripted").load(
        path, LoadConfig(), threads=1, on_progress=lambda fraction: None
    )
    model, frames = Resting(loaded, inbox, pieces=5), list[Step]()
    StepLoop(model, inbox, frames.append).run()  # type: ignore[arg-type]  # the rest is delegated
    assert model.rested == 5
    assert all(frame.usage is not None for frame in frames[:1])
