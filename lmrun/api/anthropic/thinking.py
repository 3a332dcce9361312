"""`thinking` and `effort`: what a request wishes, and what one model's template can do about it.

Coding agents send both to whatever model they have. So they are wishes: a model that does not
think answers without thoughts. Only a wish for silence that a model cannot grant is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from lmrun.api.anthropic.blocks.tagged import Tagged
from lmrun.api.fields import only
from lmrun.chat.language import Language
from lmrun.chat.request import Thinking
from lmrun.errors import UnsupportedParameter
from lmrun.settings.base import Settings

MIN_BUDGET = 1024
"""Anthropic's."""

Effort = Literal["low", "medium", "high", "xhigh", "max"]

_SWITCHES = frozenset({"enable_thinking", "thinking"})
_BUDGET = "thinking_budget"
_EFFORTS: dict[Effort, str] = {"xhigh": "high", "max": "high"}
"""Templates know three."""

_ALWAYS_ASKED = "models are asked by their templates, which have no word for it"


class Visible(Settings):
    """`display`: thoughts are given as they are, or not at all, with `omitted`."""

    display: Literal["summarized", "omitted"] | None = None
    block_binding: Annotated[Any, only({})] = None


class ThinkingEnabled(Visible):
    """The model should think. `budget_tokens`: for templates that take one (`thinking_budget`);
    elsewhere nothing but `max_tokens` bounds thoughts, which count as part of the answer."""

    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=MIN_BUDGET, lt=2**31)]


class ThinkingAdaptive(Visible):
    """The model decides, as its template has it."""

    type: Literal["adaptive"]


class ThinkingDisabled(Settings):
    """The model should not think."""

    type: Literal["disabled"]


ThinkingConfig = Annotated[
    ThinkingEnabled | ThinkingAdaptive | ThinkingDisabled,
    Tagged(
        {"enabled": ThinkingEnabled, "adaptive": ThinkingAdaptive, "disabled": ThinkingDisabled},
        refused={"between_tools": _ALWAYS_ASKED},
    ),
]


def choose_thinking(
    config: ThinkingConfig | None, effort: Effort | None, language: Language
) -> tuple[Thinking, dict[str, Any]]:
    """What the template is told, and further variables for it.

    Raises UnsupportedParameter for a model that cannot help thinking when it should not.
    """
    enabled = None
    variables: dict[str, Any] = {}
    has_switch = bool(_SWITCHES & language.variables)
    if isinstance(config, ThinkingEnabled):
        enabled = True if has_switch else None
        if _BUDGET in language.variables:
            variables[_BUDGET] = config.budget_tokens
    if isinstance(config, ThinkingDisabled):
        enabled = False if has_switch else None
        if not has_switch and _thinks(language):
            raise UnsupportedParameter(
                "`thinking`: this model always thinks; its template has no switch.",
                param="thinking",
                hint="Leave `thinking` out, or hide the thoughts with `display: omitted`.",
            )
    told = effort if "reasoning_effort" in language.variables else None
    return Thinking(_EFFORTS.get(told, told) if told else None, enabled), variables


def _thinks(language: Language) -> bool:
    return language.reasoning is not None or language.tool_format.has_channels


def hides_thoughts(config: ThinkingConfig | None) -> bool:
    """Whether the answer's blocks of thought are empty."""
    return isinstance(config, Visible) and config.display == "omitted"
