"""What every client of lmrun's own MCP server can ask models for: to chat, to embed, who they are.

It knows no protocol: arguments in, a value out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from lmrun.api.fields import SAYS_ALL
from lmrun.api.generation import ended_early, open_generation
from lmrun.api.prompt_limits import check_request
from lmrun.api.serving import Pool
from lmrun.chat.answer import Answer
from lmrun.chat.events import StopReason
from lmrun.chat.messages import Message
from lmrun.chat.request import Request
from lmrun.engines.base import ModelType
from lmrun.errors import InvalidParameter, UnsupportedParameter
from lmrun.profile.tooling.agents import AgentConfig
from lmrun.settings.base import Settings
from lmrun.settings.bounds import Strength
from lmrun.settings.prediction import PredictionConfig

ModelName = Annotated[str, Field(min_length=1, max_length=512)]
MAX_MESSAGES = 1024
MAX_TEXTS = 256

OnTokens = Callable[[int], Awaitable[None]]
"""Told how many pieces of an answer have come."""

_WHICH = "A model's key or identifier, as `list_models` gives it; left out: the only one there is."


class ChatMessage(Settings):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatArguments(Settings):
    """Ask a language model. A setting left out is the model's own."""

    prompt: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="What the user says: instead of `messages`."
    )
    messages: Annotated[
        tuple[ChatMessage, ...] | None,
        Field(min_length=1, max_length=MAX_MESSAGES, strict=False),
    ] = Field(None, description="A conversation: instead of `prompt`.")
    model: ModelName | None = Field(None, description=_WHICH)
    system: str | None = Field(None, description="Put before the conversation.")
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(
        None, description="Most tokens to generate, reasoning included."
    )
    temperature: Strength | None = Field(None, description="0 is greedy.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = Field(
        None, description="Same seed, same question, same answer."
    )

    @model_validator(mode="after")
    def _says_something_once(self) -> ChatArguments:
        if (self.prompt is None) == (self.messages is None):
            raise PydanticCustomError(SAYS_ALL, "it needs either `prompt` or `messages`")
        return self

    def to_request(self) -> Request:
        """The conversation."""
        system = () if self.system is None else (Message("system", self.system),)
        said = self.messages or (ChatMessage(role="user", content=self.prompt or ""),)
        return Request((*system, *(Message(it.role, it.content) for it in said)))

    def to_prediction(self) -> PredictionConfig:
        """Only what was chosen."""
        chosen = {name: getattr(self, name) for name in ("max_tokens", "temperature", "seed")}
        return PredictionConfig(**{name: it for name, it in chosen.items() if it is not None})


class ChatAnswer(msgspec.Struct, frozen=True):
    """What the model said. Counts in tokens."""

    model: str
    text: str
    reasoning: str
    stop_reason: StopReason
    prompt_tokens: int
    completion_tokens: int


class EmbedArguments(Settings):
    """Turn texts into vectors."""

    input: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...],
        Field(min_length=1, max_length=MAX_TEXTS, strict=False),
    ] = Field(description="The texts; each becomes a vector.")
    model: ModelName | None = Field(None, description=_WHICH)
    dimensions: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(
        None, description="How many numbers a vector has; left out: as many as the model makes."
    )


class EmbedAnswer(msgspec.Struct, frozen=True):
    """A vector for each text, in their order."""

    model: str
    embeddings: tuple[list[float], ...]
    prompt_tokens: int


class ListArguments(Settings):
    """Nothing is chosen."""


class ListedModel(msgspec.Struct, frozen=True, omit_defaults=True):
    """`type` and `context_length` (tokens) are null until the model has been loaded. `description`:
    what the profile says of an agent."""

    identifier: str
    key: str
    type: ModelType | None
    state: str
    context_length: int | None
    description: str | None = None


class ModelList(msgspec.Struct, frozen=True):
    models: tuple[ListedModel, ...]


async def chat(pool: Pool, arguments: ChatArguments, on_tokens: OnTokens) -> ChatAnswer:
    """A model's whole answer. Raises what the pool and a generation raise."""
    request = arguments.to_request()
    check_request(request, lambda number: f"messages[{number}]")
    model = arguments.model or choose(pool, embeds=False)
    answer, pieces = Answer(), 0
    async with open_generation(pool, model, request, arguments.to_prediction()) as (it, events):
        async for event in events:
            answer.take(event)
            pieces += 1
            await on_tokens(pieces)
    if answer.end is None:
        raise ended_early()
    end = answer.end
    return ChatAnswer(
        it.spec.identifier,
        answer.text,
        answer.reasoning,
        end.stop_reason,
        end.usage.prompt_tokens,
        end.usage.completion_tokens,
    )


async def embed(pool: Pool, arguments: EmbedArguments) -> EmbedAnswer:
    """A vector of each text. Raises what the pool and a lease raise."""
    async with pool.acquire(arguments.model or choose(pool, embeds=True)) as lease:
        info = lease.instance.info
        if info is not None and info.type != "embedding":
            raise UnsupportedParameter(
                f"The model {lease.instance.spec.identifier!r} makes no embeddings.",
                param="model",
                hint="Name an embedding model.",
            )
        vectors = await lease.embed(arguments.input, arguments.dimensions)
        return EmbedAnswer(
            lease.instance.spec.identifier,
            tuple(vectors.read(index) for index in range(vectors.count)),
            vectors.prompt_tokens,
        )


def list_models(pool: Pool, agents: Mapping[str, AgentConfig]) -> ModelList:
    """Everything that can be named as a model now, those of `agents` that can be included."""
    return ModelList(
        tuple(
            _list(pool, spec.identifier, spec.model_key, agents.get(spec.identifier))
            for spec in pool.offered
        )
    )


def choose(pool: Pool, *, embeds: bool) -> str:
    """The only model that may be of the kind that is needed. Raises InvalidParameter where there is
    none, or a choice."""
    listed = list_models(pool, {}).models
    names = [
        it.identifier for it in listed if it.type is None or (it.type == "embedding") == embeds
    ]
    if len(names) != 1:
        raise InvalidParameter(
            f"`model` is required: {_show(names)}", param="model", hint="`list_models` has them."
        )
    return names[0]


def _show(names: Sequence[str]) -> str:
    if not names:
        return "there is no model of the kind that is needed."
    return f"there are {', '.join(names[:20])}."


def _list(pool: Pool, identifier: str, key: str, agent: AgentConfig | None) -> ListedModel:
    instance = pool.instances.get(identifier)
    info = instance.info if instance is not None else None
    return ListedModel(
        identifier,
        key,
        info.type if info is not None else None,
        instance.state if instance is not None else "not loaded",
        info.context_length if info is not None else None,
        agent.description if agent is not None else None,
    )


def to_json(answer: msgspec.Struct) -> dict[str, Any]:
    """An answer as plain values."""
    value: dict[str, Any] = msgspec.to_builtins(answer)
    return value
