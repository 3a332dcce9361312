"""`<|tool_call|>[{"name": …, "arguments": {…}}]`: Granite 3.x.

Source: the chat template of granite-3.3-instruct. Granite 4 writes as Hermes does; a 3.0 model
without the control token writes `<tool_call>` in its place.
"""

from __future__ import annotations

from lmrun.chat.formats.marked import MarkedObjects

GRANITE = MarkedObjects(
    name="granite",
    signs=("<|start_of_role|>", "<|tool_call|>"),
    openings=("<|tool_call|>", "<tool_call>"),
    reveals_special=True,
)
