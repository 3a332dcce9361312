"""What the API needs of the runtime: instances to list, leases to use them.

It knows nothing of how an instance comes to be, or of what happens while a lease is waited for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from lmrun.chat.events import Event
from lmrun.chat.request import Prompt, Request
from lmrun.engines.base import ModelInfo
from lmrun.errors import (
    BudgetExceeded,
    ContextOverflow,
    CrashLoop,
    DiskFull,
    EngineCrashed,
    EngineError,
    EngineHung,
    EngineMissing,
    FetchFailed,
    Forbidden,
    LmrunError,
    LoadFailed,
    McpError,
    McpNotApproved,
    McpNotFound,
    McpProtocol,
    McpUnreachable,
    McpUnusable,
    MemoryFull,
    ModelInvalid,
    ModelNotFound,
    ModelNotReady,
    ModelTooLarge,
    OutboundFailed,
    OutboundRefused,
    QueueFull,
    SettingRefused,
    SourceError,
    SourceMissing,
    StoreError,
    TemplateFailed,
)
from lmrun.reconcile.status import InstanceState
from lmrun.runtime.answers.texts import Rendered, Tokens
from lmrun.runtime.answers.vectors import Scores, Vectors
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.prediction import PredictionConfig

LOAD_ERRORS: tuple[type[LmrunError], ...] = (
    CrashLoop,
    EngineCrashed,
    EngineError,
    EngineHung,
    EngineMissing,
    FetchFailed,
    LoadFailed,
    MemoryFull,
    ModelInvalid,
    ModelNotFound,
    ModelNotReady,
    ModelTooLarge,
    SettingRefused,
    SourceError,
    SourceMissing,
)
"""What loading a model can raise."""
LEASE_ERRORS = (*LOAD_ERRORS, QueueFull)
"""What using a model can raise: whoever waits for it may wait for its load."""
OPENING_ERRORS: tuple[type[LmrunError], ...] = (
    Forbidden,
    McpError,
    McpNotApproved,
    McpNotFound,
    McpProtocol,
    McpUnreachable,
    McpUnusable,
    OutboundFailed,
    OutboundRefused,
)
"""What reading the prompts and resources with which an agent begins can raise."""
GENERATION_ERRORS = (
    *LEASE_ERRORS,
    *OPENING_ERRORS,
    BudgetExceeded,
    ContextOverflow,
    TemplateFailed,
)
"""An agent has budgets."""
STORE_ERRORS: tuple[type[LmrunError], ...] = (DiskFull, StoreError)
"""What writing down and looking up can raise."""


class Instance(Protocol):
    """One instance as it is now. `info` is there once it has been loaded."""

    @property
    def spec(self) -> InstanceSpec: ...

    @property
    def state(self) -> InstanceState: ...

    @property
    def info(self) -> ModelInfo | None: ...


class Generating(Protocol):
    """The part of a lease that generates."""

    @property
    def instance(self) -> Instance: ...

    def generate(self, prompt: Prompt, prediction: PredictionConfig) -> AsyncGenerator[Event, None]:
        """Run one generation. `prediction`: only what the request chose; the rest is the
        instance's. Closing the generator is the only way to cancel. Raises RequestError before
        the first event, EngineError at any time.
        """
        ...


class Lease(Generating, Protocol):
    """The right to use one instance; it stays loaded meanwhile."""

    async def embed(self, inputs: Sequence[str | Sequence[int]], dimensions: int | None) -> Vectors:
        """A vector of each input, a text or token ids.

        Raises RequestError, whose `param` says which input is wrong (`input[3]`), and EngineError.
        """
        ...

    async def score(self, query: str, documents: Sequence[str]) -> Scores:
        """How well each document fits. Raises as `embed` does, with `documents[3]`."""
        ...

    async def render(self, request: Request) -> Rendered:
        """The prompt that `generate` would send. Raises RequestError and EngineError."""
        ...

    async def count_tokens(self, prompt: Prompt) -> int:
        """Of the prompt that `generate` would send. Raises RequestError and EngineError."""
        ...

    async def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool, with_pieces: bool
    ) -> Tokens:
        """The tokens of a text. Raises RequestError and EngineError."""
        ...

    async def detokenize(self, tokens: Sequence[int]) -> bytes:
        """The text of tokens. Raises RequestError and EngineError."""
        ...


class Pool(Protocol):
    """All instances."""

    @property
    def instances(self) -> Mapping[str, Instance]:
        """By identifier."""

    @property
    def offered(self) -> Sequence[InstanceSpec]:
        """What requests may name, by identifier: loaded, being loaded, or loaded by a request."""

    def acquire(
        self, name: str, *, ttl_s: float | None = None
    ) -> AbstractAsyncContextManager[Lease]:
        """A lease on the instance called `name`; entering may wait, and load it.

        `ttl_s`: how long one that this request loads may be idle. Raises ModelNotFound,
        ModelNotReady, QueueFull, and what a load raises.
        """
        ...
