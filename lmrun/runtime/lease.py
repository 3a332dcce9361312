"""A lease: the right to use one instance, and the defaults that apply to its requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from lmrun.chat.events import Event
from lmrun.chat.messages import Conversation, Message, Prompt
from lmrun.runtime.instance import Instance
from lmrun.runtime.supervisor import Supervisor
from lmrun.settings.prediction import PredictionConfig


class Lease:
    """Held for one request. `instance` is the one that was chosen."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.instance: Instance = supervisor.instance

    def generate(self, prompt: Prompt, prediction: PredictionConfig) -> AsyncGenerator[Event, None]:
        """The events of a generation; what `prediction` leaves open is the instance's default.

        Closing the iterator cancels it. Raises ModelNotReady when the instance is gone by now;
        the iterator raises EngineCrashed, EngineHung, TemplateFailed, ContextOverflow and the
        like, whatever ended the sequence.
        """
        spec = self.instance.spec
        return self._supervisor.generate(
            with_system_prompt(prompt, spec.system_prompt), spec.prediction.overlay(prediction)
        )


def with_system_prompt(prompt: Prompt, system_prompt: str | None) -> Prompt:
    """`prompt` with `system_prompt` in front, if it is a conversation without a system message."""
    if system_prompt is None or not isinstance(prompt, Conversation):
        return prompt
    if any(message.role == "system" for message in prompt.messages):
        return prompt
    return Conversation((Message(role="system", content=system_prompt), *prompt.messages))
