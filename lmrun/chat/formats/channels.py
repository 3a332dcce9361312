"""Marks of reasoning that formats with channels read by themselves."""

from __future__ import annotations

from lmrun.chat.formats import harmony
from lmrun.chat.formats.base import ToolFormat
from lmrun.chat.formats.function_gemma import GEMMA_4
from lmrun.chat.formats.objects import apertus, command_r, granite, solar
from lmrun.settings.structured import ThoughtMarks

_MARKS = (command_r.THINKING, apertus.INNER, solar.THINK) + (
    (f"{GEMMA_4.thought.start}thought",) if GEMMA_4.thought else ()
)


def find_open_mark(prompt_end: str) -> str:
    """The mark with which a prompt has opened reasoning, so that the answer leaves it out; "" if it
    ends otherwise."""
    text = prompt_end.rstrip()
    return next((mark for mark in _MARKS if text.endswith(mark)), "")


_THOUGHTS = {
    "command_r": ThoughtMarks(start=command_r.THINKING, end=command_r.THINKING_END),
    "granite": ThoughtMarks(start=granite.THINK, end=granite.THINK_END),
    "apertus": ThoughtMarks(start=apertus.INNER, end=apertus.INNER_END),
    "solar_open": ThoughtMarks(start=solar.THINK, end=solar.END),
    "harmony": ThoughtMarks(
        start=f"{harmony.CHANNEL}{harmony.ANALYSIS}{harmony.MESSAGE}", end=harmony.ENDS[0]
    ),
    GEMMA_4.name: GEMMA_4.thought,
}


def find_thought(tool_format: ToolFormat) -> ThoughtMarks | None:
    """What stands around reasoning in a format that reads it by itself, where one pair does."""
    return _THOUGHTS.get(tool_format.name)
