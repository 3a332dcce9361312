"""How one model speaks, read from its chat template's own text. Pure; it renders nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from lmrun.chat.formats.base import ToolFormat
from lmrun.chat.formats.channels import find_thought
from lmrun.chat.formats.choose import choose_format
from lmrun.chat.reasoning import ReasoningFormat, choose_reasoning
from lmrun.chat.template_source import find_variables
from lmrun.settings.structured import ThoughtMarks


@dataclass(frozen=True, slots=True)
class Language:
    """`reasoning`: None where the model has no marks for it, or its tool format reads them; then
    `channel_thought` has them. `variables`: those that a request may choose, since the template
    reads them."""

    tool_format: ToolFormat
    reasoning: ReasoningFormat | None = None
    variables: frozenset[str] = frozenset()
    channel_thought: ThoughtMarks | None = None

    @property
    def thought(self) -> ThoughtMarks | None:
        """What may stand around reasoning before what is enforced."""
        if self.reasoning is None:
            return self.channel_thought
        return ThoughtMarks(start=self.reasoning.start, end=self.reasoning.end)


@lru_cache(maxsize=64)
def read_language(template: str | None) -> Language:
    """The language of the model with this chat template, None for one without."""
    source = template or ""
    tool_format = choose_format(template)
    reasoning = None if tool_format.has_channels else choose_reasoning(source)
    return Language(tool_format, reasoning, find_variables(source), find_thought(tool_format))
