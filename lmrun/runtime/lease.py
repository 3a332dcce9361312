"""A lease: the right to use one instance, and the defaults that apply to its requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

from lmrun.chat.events import Event
from lmrun.chat.messages import Conversation, Message, Prompt
from lmrun.errors import InvalidParameter
from lmrun.runtime.answers.vectors import Scores, Vectors
from lmrun.runtime.instance import Instance
from lmrun.runtime.streams import Input
from lmrun.runtime.supervisor import Supervisor
from lmrun.settings.prediction import PredictionConfig


class Lease:
    """Held for one request. `instance` is the one that was chosen. `find_file`: where a declared
    model's file is, None when there is none."""

    def __init__(
        self, supervisor: Supervisor, find_file: Callable[[str], Path | None] = lambda name: None
    ) -> None:
        self._supervisor = supervisor
        self._find_file = find_file
        self.instance: Instance = supervisor.instance

    def generate(self, prompt: Prompt, prediction: PredictionConfig) -> AsyncGenerator[Event, None]:
        """The events of a generation; what `prediction` leaves open is the instance's default.

        Closing the iterator cancels it. Raises ModelNotReady when the instance is gone by now, and
        InvalidParameter for a draft model that nobody declared; the iterator raises EngineCrashed,
        EngineHung, TemplateFailed, ContextOverflow and the like, whatever ended the sequence.
        """
        spec = self.instance.spec
        prediction = spec.prediction.overlay(prediction)
        return self._supervisor.generate(
            with_system_prompt(prompt, spec.system_prompt),
            prediction,
            self._find_draft_model(prediction.draft_model),
        )

    def _find_draft_model(self, name: str | None) -> str | None:
        if name is None:
            return None
        path = self._find_file(name)
        if path is None:
            raise InvalidParameter(
                f"draft_model: there is no declared model {name!r} whose file is here.",
                param="draft_model",
                hint="Declare it in the profile; with `state: absent` it is used for drafts only.",
            )
        return str(path)

    async def embed(self, inputs: Sequence[Input], dimensions: int | None = None) -> Vectors:
        """A unit-length vector of each input, a text or token ids; `dimensions`: a shorter one.

        Cancelling this cancels the work. Raises ModelNotReady when the instance is gone by now,
        ContextOverflow and InvalidParameter whose `param` says which input is wrong (`input[3]`),
        UnsupportedParameter when the model is no embedding model, and EngineCrashed and the like.
        """
        return await self._supervisor.embed(inputs, dimensions)

    async def score(self, query: str, documents: Sequence[str]) -> Scores:
        """How well each document fits `query`, by a reranker: higher is better.

        Raises what `embed` raises, with `documents[3]` as `param`.
        """
        return await self._supervisor.score(query, documents)


def with_system_prompt(prompt: Prompt, system_prompt: str | None) -> Prompt:
    """`prompt` with `system_prompt` in front, if it is a conversation without a system message."""
    if system_prompt is None or not isinstance(prompt, Conversation):
        return prompt
    if any(message.role == "system" for message in prompt.messages):
        return prompt
    return Conversation((Message(role="system", content=system_prompt), *prompt.messages))
