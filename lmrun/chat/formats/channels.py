"""Marks of reasoning that formats with channels read by themselves."""

from __future__ import annotations

from lmrun.chat.formats import apertus, command_r, solar
from lmrun.chat.formats.function_gemma import GEMMA_4

_MARKS = (command_r.THINKING, apertus.INNER, solar.THINK) + (
    (f"{GEMMA_4.thought.start}thought",) if GEMMA_4.thought else ()
)


def find_open_mark(prompt_end: str) -> str:
    """The mark with which a prompt has opened reasoning, so that the answer leaves it out; "" if it
    ends otherwise."""
    text = prompt_end.rstrip()
    return next((mark for mark in _MARKS if text.endswith(mark)), "")
