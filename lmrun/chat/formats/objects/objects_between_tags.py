"""Families that write JSON objects between markers of their own, and do nothing else of their own.

Sources: the chat templates that these models are published with.
"""

from __future__ import annotations

from lmrun.chat.formats.objects.marked import MarkedObjects

NEMOTRON = MarkedObjects(
    name="nemotron",
    signs=("<TOOLCALL>[",),
    openings=("<TOOLCALL>",),
    closings=("</TOOLCALL>",),
)
"""Nemotron Nano v2; v3 writes as Qwen3-Coder does."""

APRIEL = MarkedObjects(
    name="apriel",
    signs=("<tool_calls>[", "</tool_calls>", "<available_tools>"),
    openings=("<tool_calls>",),
    closings=("</tool_calls>",),
)

MINIMAX_M1 = MarkedObjects(
    name="minimax_m1",
    signs=("<tool_calls>\\n{", "</tool_calls>"),
    openings=("<tool_calls>",),
    closings=("</tool_calls>",),
    layout=("\n", "\n", "\n"),
)
"""One object a line."""

GIGACHAT = MarkedObjects(
    name="gigachat",
    signs=("<|role_sep|>", "<|function_call|>"),
    openings=("<|function_call|>",),
    layout=("", "", ""),
    reveals_special=True,
)
"""GigaChat 3.1."""
