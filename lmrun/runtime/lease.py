"""A lease: the right to use one instance, and the defaults that apply to its requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from lmrun.chat.events import Event, WorkerEvent
from lmrun.chat.interpretation import interpret
from lmrun.chat.language import Language, read_language
from lmrun.chat.messages import Message
from lmrun.chat.request import Prompt, Request
from lmrun.errors import InvalidParameter
from lmrun.runtime.answers.reading import explain_refusals, read, read_plain
from lmrun.runtime.answers.texts import Rendered, Tokens
from lmrun.runtime.answers.vectors import Scores, Vectors
from lmrun.runtime.instance import Instance
from lmrun.runtime.observing import NoObserver, Observer, observe
from lmrun.runtime.streams import Input
from lmrun.runtime.supervisor import Supervisor
from lmrun.runtime.turns import current_priority
from lmrun.settings.prediction import PredictionConfig
from lmrun.worker.frames import PromptReport


class Lease:
    """Held for one request. `instance` is the one that was chosen. `find_file`: where a declared
    model's file is, None when there is none. `observer`: who is told of what is done with it."""

    def __init__(
        self,
        supervisor: Supervisor,
        find_file: Callable[[str], Path | None] = lambda name: None,
        observer: Observer | None = None,
    ) -> None:
        self._supervisor = supervisor
        self._find_file = find_file
        self._observer = observer or NoObserver()
        self.instance: Instance = supervisor.instance
        self._priority = current_priority()

    def generate(self, prompt: Prompt, prediction: PredictionConfig) -> AsyncGenerator[Event, None]:
        """The events of a generation; what `prediction` leaves open is the instance's default.

        Closing the iterator cancels it. Raises ModelNotReady when the instance is gone by now, and
        InvalidParameter for a draft model that nobody declared, UnsupportedParameter for what the
        model's language has no words for; the iterator raises EngineCrashed,
        EngineHung, TemplateFailed, ContextOverflow and the like, whatever ended the sequence.
        """
        spec = self.instance.spec
        prediction = spec.prediction.overlay(prediction)
        draft_model = self._find_draft_model(prediction.draft_model)
        with_prompt = self._observer.wants_prompts
        if not isinstance(prompt, Request):
            raw = prompt
            events = self._in_turn(
                lambda: self._supervisor.generate(
                    raw,
                    prediction,
                    draft_model,
                    reports_prompt="all" if with_prompt else "nothing",
                )
            )
            return read_plain(self._observe(events, with_prompt=with_prompt))
        request = with_system_prompt(prompt, spec.system_prompt)
        meaning = interpret(request, self._language, prediction)
        if meaning.structured is not None:
            prediction = prediction.overlay(PredictionConfig(structured=meaning.structured))
        events = self._in_turn(
            lambda: self._supervisor.generate(
                meaning.conversation,
                prediction,
                draft_model,
                reveals_special=meaning.reveals_special,
                reports_prompt=_choose_report(with_prompt, meaning.make_parser is not None),
            )
        )
        events = self._observe(events, with_prompt=with_prompt)
        if meaning.tools:
            events = explain_refusals(events, meaning.tools)
        if meaning.make_parser is None:
            return read_plain(events)
        return read(events, meaning.make_parser)

    async def _in_turn(
        self, start: Callable[[], AsyncGenerator[WorkerEvent, None]]
    ) -> AsyncGenerator[WorkerEvent, None]:
        """The events of a generation that begins when it is this request's turn; a worker that
        has crashed meanwhile is waited for."""
        async with self.instance.turns.turn(self._priority):
            await self._supervisor.until_settled()
            async with aclosing(start()) as events:
                async for event in events:
                    yield event

    def _observe(
        self, events: AsyncGenerator[WorkerEvent, None], *, with_prompt: bool
    ) -> AsyncGenerator[WorkerEvent, None]:
        spec = self.instance.spec
        return observe(events, lambda: self._observer.begin(spec, with_prompt=with_prompt))

    @property
    def _language(self) -> Language:
        info = self.instance.info
        return read_language(info.chat_template if info is not None else None)

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
        found = await self._supervisor.embed(inputs, dimensions)
        self._observer.count_input(self.instance.spec, found.prompt_tokens)
        return found

    async def score(self, query: str, documents: Sequence[str]) -> Scores:
        """How well each document fits `query`, by a reranker: higher is better.

        Raises what `embed` raises, with `documents[3]` as `param`.
        """
        found = await self._supervisor.score(query, documents)
        self._observer.count_input(self.instance.spec, found.prompt_tokens)
        return found

    async def render(self, request: Request) -> Rendered:
        """The prompt that the model's template makes of `request`, as `generate` would send it.

        An image's place in the text is marked; its tokens count. Cancelling this cancels the work.
        Raises ModelNotReady when the instance is gone by now, UnsupportedParameter for what the
        model has no words for, TemplateFailed, and EngineCrashed and the like.
        """
        spec = self.instance.spec
        meaning = interpret(
            with_system_prompt(request, spec.system_prompt), self._language, spec.prediction
        )
        found = await self._supervisor.render(meaning.conversation)
        return Rendered(found.text, found.tokens)

    async def count_tokens(self, prompt: Prompt) -> int:
        """How many tokens `prompt` has, as `generate` would send it. Raises what `render` raises,
        and InvalidParameter for token ids that the vocabulary does not have."""
        if isinstance(prompt, Request):
            return (await self.render(prompt)).tokens
        return (await self._supervisor.render(prompt)).tokens

    async def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool, with_pieces: bool = False
    ) -> Tokens:
        """The tokens of `text`. `add_special`: with BOS and EOS where the model wants them.
        `parse_special`: markup such as `<|im_start|>` becomes its token. `with_pieces`: what each
        token says, too.

        Raises InvalidParameter for more tokens than are listed, and otherwise what `embed` raises
        for an instance that is gone.
        """
        found = await self._supervisor.tokenize(
            text, add_special=add_special, parse_special=parse_special, with_pieces=with_pieces
        )
        return Tokens(found.tokens, found.pieces)

    async def detokenize(self, tokens: Sequence[int]) -> bytes:
        """The text of `tokens`, special ones included; it may begin or end within a character.

        Raises InvalidParameter for ids that the vocabulary does not have, and otherwise what
        `embed` raises for an instance that is gone.
        """
        return await self._supervisor.detokenize(tokens)


def _choose_report(with_prompt: bool, has_parser: bool) -> PromptReport:
    """How much of its prompt a generation reports: what is wanted, or what reading it takes."""
    if with_prompt:
        return "all"
    return "tail" if has_parser else "nothing"


def with_system_prompt(request: Request, system_prompt: str | None) -> Request:
    """`request` with `system_prompt` in front, if it has no system message."""
    if system_prompt is None or any(message.role == "system" for message in request.messages):
        return request
    system = Message(role="system", content=system_prompt)
    return replace(request, messages=(system, *request.messages))
