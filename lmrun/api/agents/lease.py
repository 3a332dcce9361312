"""A lease on an agent: generating is a run, in which the server calls the agent's tools.

It knows no dialect and no policy.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from lmrun.api.agents.retelling import Retelling
from lmrun.api.agents.workshop import Workshop
from lmrun.api.client import current_client
from lmrun.api.http.record import current_record
from lmrun.api.serving import Instance, Lease
from lmrun.chat.events import Event
from lmrun.chat.request import Prompt, Request
from lmrun.engines.base import ModelInfo
from lmrun.errors import UnsupportedParameter
from lmrun.profile.presets import Preset
from lmrun.profile.tooling.agents import AgentConfig
from lmrun.reconcile.status import InstanceState
from lmrun.runtime.answers.texts import Rendered, Tokens
from lmrun.runtime.answers.vectors import Scores, Vectors
from lmrun.runtime.lease import with_system_prompt
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.prediction import PredictionConfig
from lmrun.tools.act.loop import Limits, act, to_chat_tool
from lmrun.tools.act.opening import Opening, make_opening, weave
from lmrun.tools.act.sources import Source, read_sources
from lmrun.tools.tool import Caller

_DOORS: Mapping[str, str] = {"/v1/responses": "responses", "/v1/messages": "messages"}
"""Which door a route is, for the log; the others are `chat`."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A declared agent. `preset`: its own, empty where it has none."""

    name: str
    config: AgentConfig
    preset: Preset

    @property
    def opening(self) -> Opening:
        """What its runs begin with."""
        return make_opening(self.preset, self.config.context)

    @property
    def uses_tools(self) -> bool:
        """Whether it has any, or reads what MCP servers give."""
        return bool(self.config.tools) or not self.opening.is_empty


@dataclass(frozen=True, slots=True)
class AgentInstance:
    """The instance of an agent's model, under the agent's name and with its preset."""

    model: Instance
    spec: InstanceSpec

    @property
    def state(self) -> InstanceState:
        return self.model.state

    @property
    def info(self) -> ModelInfo | None:
        return self.model.info


def as_agent(agent: Agent, spec: InstanceSpec) -> InstanceSpec:
    """What a client sees of an agent whose model is `spec`."""
    return replace(
        spec,
        identifier=agent.name,
        prediction=spec.prediction.overlay(agent.preset.prediction),
        system_prompt=agent.preset.system_prompt or spec.system_prompt,
    )


@dataclass(slots=True)
class AgentLease:
    """Its model is held until the run is over."""

    agent: Agent
    workshop: Workshop
    lease: Lease
    _has_run: bool = field(default=False, init=False)

    @property
    def instance(self) -> Instance:
        return AgentInstance(self.lease.instance, as_agent(self.agent, self.lease.instance.spec))

    def generate(self, prompt: Prompt, prediction: PredictionConfig) -> AsyncGenerator[Event, None]:
        """A run, told as one generation. Raises UnsupportedParameter for a prompt that is no
        conversation, for tools of the client's own, and for a second answer to one request; the
        iterator raises what a generation does, BudgetExceeded, and what reading its prompt and
        context raises."""
        request = self._read(prompt)
        if self._has_run:
            raise UnsupportedParameter(
                f"The agent {self.agent.name!r} answers once: each answer would run its tools.",
                param="n",
                hint="Leave `n` out, or ask again.",
            )
        self._has_run = True
        return self._run(request, self.agent.preset.prediction.overlay(prediction))

    async def _run(
        self, request: Request, prediction: PredictionConfig
    ) -> AsyncGenerator[Event, None]:
        patterns = self._choose_patterns(request)
        retelling = Retelling(current_client().wants_steps, bool(patterns))

        async def generate(
            request: Request, prediction: PredictionConfig
        ) -> AsyncGenerator[Event, None]:
            async with aclosing(self.lease.generate(request, prediction)) as said:
                async for event in said:
                    retelling.listen(event)
                    yield event

        events = act(
            generate,
            request,
            prediction,
            self.workshop.toolset(patterns),
            gate=self.workshop.gate,
            caller=self._make_caller(),
            limits=Limits.from_agent(self.agent.config),
            sources=self._find_sources,
        )
        async with aclosing(events):
            async for event in events:
                for told in retelling.take(event):
                    yield told

    def _read(self, prompt: Prompt) -> Request:
        """The conversation, with the agent's system prompt where it has none of its own."""
        if not isinstance(prompt, Request):
            raise UnsupportedParameter(
                f"The agent {self.agent.name!r} answers conversations, and takes no raw prompt.",
                param="model",
                hint="Ask it through /v1/chat/completions, /v1/responses or /v1/messages.",
            )
        if prompt.tools:
            raise UnsupportedParameter(
                f"The agent {self.agent.name!r} has tools of its own, which the server runs; it "
                "takes no others.",
                param="tools",
                hint=f"Leave `tools` out, or ask its model, {self.agent.config.model!r}.",
            )
        return with_system_prompt(prompt, self.agent.preset.system_prompt)

    def _choose_patterns(self, request: Request) -> Sequence[str]:
        return () if request.tool_choice.mode == "none" else self.agent.config.tools

    def _find_sources(self) -> Sequence[Source]:
        return self.workshop.sources(self.agent.opening)

    def _make_caller(self) -> Caller:
        record = current_record()
        return Caller(
            door=_DOORS.get(record.route or "", "chat") if record else "chat",
            key=record.key if record else None,
            model=self.agent.config.model,
            agent=self.agent.name,
        )

    async def render(self, request: Request) -> Rendered:
        """As its first round begins: the agent's system prompt and tools are in it, and what it
        reads of MCP servers. Raises what reading that raises."""
        return await self.lease.render(await self._with_tools(request))

    async def count_tokens(self, prompt: Prompt) -> int:
        """As its first round begins: the agent's system prompt and tools count, and what it reads
        of MCP servers. Raises what reading that raises."""
        return await self.lease.count_tokens(await self._with_tools(prompt))

    async def _with_tools(self, prompt: Prompt) -> Request:
        request = self._read(prompt)
        opened = await read_sources(
            self._find_sources(),
            request.messages,
            gate=self.workshop.gate,
            caller=self._make_caller(),
            clock=time.monotonic,
        )
        request = replace(request, messages=weave(request.messages, opened))
        tools = await self.workshop.toolset(self._choose_patterns(request)).tools()
        return replace(request, tools=tuple(to_chat_tool(tool.spec) for tool in tools))

    async def embed(self, inputs: Sequence[str | Sequence[int]], dimensions: int | None) -> Vectors:
        raise self._only_answers("makes no embeddings")

    async def score(self, query: str, documents: Sequence[str]) -> Scores:
        raise self._only_answers("ranks no documents")

    def _only_answers(self, what_not: str) -> UnsupportedParameter:
        return UnsupportedParameter(
            f"{self.agent.name!r} is an agent: it answers conversations, and {what_not}.",
            param="model",
        )

    async def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool, with_pieces: bool
    ) -> Tokens:
        return await self.lease.tokenize(
            text, add_special=add_special, parse_special=parse_special, with_pieces=with_pieces
        )

    async def detokenize(self, tokens: Sequence[int]) -> bytes:
        return await self.lease.detokenize(tokens)
