"""LM Studio's one setting for reasoning, and what a model's template makes of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lmrun.chat.language import Language
from lmrun.chat.request import Thinking
from lmrun.errors import UnsupportedParameter

ReasoningSetting = Literal["off", "low", "medium", "high", "on"]

_SWITCHES = frozenset({"enable_thinking", "thinking"})
_EFFORT = "reasoning_effort"


def find_settings(language: Language) -> tuple[ReasoningSetting, ...]:
    """Those that the model has: what its template can be told, `on` alone where that is nothing
    and it reasons all the same; none for a model that does not."""
    switch: tuple[ReasoningSetting, ...] = ("off", "on") if language.variables & _SWITCHES else ()
    if not language.variables & {*_SWITCHES, _EFFORT}:
        return ("on",) if language.reasoning is not None else ()
    if _EFFORT not in language.variables:
        return switch
    return (*switch[:1], "low", "medium", "high", *switch[1:])


def choose_default(settings: Sequence[ReasoningSetting]) -> ReasoningSetting:
    """What templates with these settings do when they are told nothing."""
    return "on" if "on" in settings else "medium"


def to_thinking(setting: ReasoningSetting | None, language: Language) -> Thinking:
    """What the template is told. Raises UnsupportedParameter for a setting that the model does not
    have."""
    settings = find_settings(language)
    if setting is None or settings == (setting,):
        return Thinking()
    if setting not in settings:
        known = ", ".join(settings)
        raise UnsupportedParameter(
            f"`reasoning`: this model does not support {setting!r}.",
            param="reasoning",
            hint=f"It supports {known}." if known else "It has no setting for reasoning.",
        )
    if setting in ("off", "on"):
        return Thinking(enabled=setting == "on")
    return Thinking(effort=setting)
