"""What a follower of a run hears: which run it is, then its events. It knows no wire."""

from __future__ import annotations

import msgspec

from lmrun.tools.act.events import Told
from lmrun.tools.act.requests import RunSummary


class RunStarted(msgspec.Struct, frozen=True, tag="run.start"):
    """The first event of a stream: which run it is."""

    run: RunSummary


class RunList(msgspec.Struct, frozen=True):
    """The newest first."""

    data: tuple[RunSummary, ...]


RunEvent = RunStarted | Told
