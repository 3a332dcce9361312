"""What /api/v0 adds to OpenAI's answers: statistics, the model, the runtime.

Format: LM Studio's documentation, "REST API v0".
"""

from __future__ import annotations

import time

import msgspec

from lmrun.api.extension import Addition, Extension
from lmrun.api.lmstudio.house import House
from lmrun.api.lmstudio.timing import Timing
from lmrun.api.serving import Instance
from lmrun.catalog.description import ModelFile
from lmrun.chat.events import ChatEnd, Event, StopReason

_RUNTIMES = {"llama_cpp": "llama.cpp"}


class StatsV0(msgspec.Struct, frozen=True):
    """Times in seconds, by when events arrived in the server. Of several choices: all of them
    together, and why the first one to end did."""

    tokens_per_second: float
    time_to_first_token: float
    generation_time: float
    stop_reason: StopReason


class ModelInfoV0(msgspec.Struct, frozen=True):
    """`context_length`: what the instance was loaded with, in tokens."""

    arch: str
    quant: str
    format: str
    context_length: int


class RuntimeV0(msgspec.Struct, frozen=True):
    name: str
    version: str
    supported_formats: tuple[str, ...]


class MembersV0(msgspec.Struct, frozen=True):
    stats: StatsV0
    model_info: ModelInfoV0
    runtime: RuntimeV0


class AdditionV0:
    """The statistics of one answer."""

    def __init__(self, instance: Instance, file: ModelFile, started_s: float) -> None:
        self._instance = instance
        self._file = file
        self._timing = Timing(started_s)
        self._ends: list[ChatEnd] = []

    def note(self, event: Event) -> None:
        self._timing.note(event, time.monotonic())
        if isinstance(event, ChatEnd):
            self._ends.append(event)

    def make(self) -> bytes:
        timing, tokens = self._timing, sum(end.usage.completion_tokens for end in self._ends)
        stats = StatsV0(
            timing.tokens_per_second(tokens),
            timing.time_to_first_token_s,
            timing.generation_time_s,
            self._ends[0].stop_reason,
        )
        info = make_model_info(self._instance, self._file)
        return msgspec.json.encode(MembersV0(stats, info, make_runtime(self._instance)))


def make_model_info(instance: Instance, file: ModelFile) -> ModelInfoV0:
    """What an instance is made of; a script has no quantisation."""
    info = instance.info
    return ModelInfoV0(
        arch=file.architecture or (info.architecture if info else ""),
        quant=file.quantization or "",
        format=file.format or instance.spec.engine,
        context_length=info.context_length if info else 0,
    )


def make_runtime(instance: Instance) -> RuntimeV0:
    """The engine that answers."""
    info, engine = instance.info, instance.spec.engine
    version = info.engine_version if info else ""
    formats = ("gguf",) if engine == "llama_cpp" else (engine,)
    return RuntimeV0(_RUNTIMES.get(engine, engine), version, formats)


def make_extension(house: House) -> Extension:
    """For OpenAI's answers below /api/v0."""

    async def begin(instance: Instance) -> Addition:
        started_s = time.monotonic()
        return AdditionV0(instance, await house.declared.describe(instance.spec), started_s)

    return Extension(begin, MembersV0, "V0")
