"""An action that is being done, and what it occupies. It starts and ends none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from lmrun.reconcile.desired import DesiredModel
from lmrun.reconcile.outcome import Action
from lmrun.reconcile.plan import TOOLS

SERVER_SLOT = ""
"""The slot of actions on the listener: no identifier is empty."""
TOOLS_SLOT = "the tools"
"""The slot of actions on the tools: no identifier has a space."""


@dataclass(slots=True)
class Running:
    """`model`: what it is done for, None for what wants nothing more than an end."""

    action: Action
    model: DesiredModel | None
    task: asyncio.Task[None]
    is_cancelled: bool = False
    is_by_hand: bool = False
    is_for_request: bool = False


def slot_of(action: Action) -> str:
    """What an action occupies: its instance, the one listener, or the tools."""
    if action.model is not None:
        return action.target
    return TOOLS_SLOT if action.target == TOOLS else SERVER_SLOT
