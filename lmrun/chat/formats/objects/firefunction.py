"""`functools[{"name": …, "arguments": {…}}]`: FireFunction v2.

Source: the chat template of llama-3-firefunction-v2, which shows the text of its variable
`functions`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from msgspec.structs import replace

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.objects.marked import MarkedObjects
from lmrun.chat.formats.writing.prompting import to_function
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

_MARKUP = MarkedObjects(
    name="firefunction", signs=("functools[",), openings=("functools",), trigger="functools["
)


class FireFunction:
    """All calls are in one array."""

    name = _MARKUP.name
    reveals_special = False
    has_channels = False

    def matches(self, template: str) -> bool:
        return _MARKUP.matches(template)

    def adapt(self, conversation: Conversation) -> Conversation:
        if not conversation.tools:
            return conversation
        shown = json.dumps(list(map(to_function, conversation.tools)), indent=4, ensure_ascii=False)
        return replace(conversation, variables={**conversation.variables, "functions": shown})

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return _MARKUP.make_parser(tools)

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        return _MARKUP.make_grammar(tools, choice)
