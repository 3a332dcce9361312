"""LM Studio's one setting for reasoning, and what a model's template makes of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lmrun.chat.language import Language
from lmrun.chat.request import Thinking
from lmrun.errors import UnsupportedParameter

ReasoningSetting = Literal["off", "low", "medium", "high", "on"]

_SWITCHES = frozenset({"enable_thinking", "thinking"})


def find_settings(language: Language) -> tuple[ReasoningSetting, ...]:
    """Those that the model's template can be told; none for a model without."""
    switch: tuple[ReasoningSetting, ...] = ("off", "on") if language.variables & _SWITCHES else ()
    if "reasoning_effort" not in language.variables:
        return switch
    return (*switch[:1], "low", "medium", "high", *switch[1:])


def choose_default(settings: Sequence[ReasoningSetting]) -> ReasoningSetting:
    """What templates with these settings do when they are told nothing."""
    return "on" if "on" in settings else "medium"


def to_thinking(setting: ReasoningSetting | None) -> Thinking:
    """What the template is told."""
    if setting is None:
        return Thinking()
    if setting in ("off", "on"):
        return Thinking(enabled=setting == "on")
    return Thinking(effort=setting)


def require_setting(setting: ReasoningSetting | None, language: Language) -> None:
    """Raises UnsupportedParameter for a setting that the model does not have."""
    settings = find_settings(language)
    if setting is None or setting in settings:
        return
    known = ", ".join(settings)
    raise UnsupportedParameter(
        f"`reasoning`: this model does not support {setting!r}.",
        param="reasoning",
        hint=f"It supports {known}." if known else "Its template has no setting for reasoning.",
    )
