"""The requests of a storm: prompts that share beginnings, and settings of every kind.

It knows no scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from random import Random
from typing import Any

from lmrun.engines.base import LoadedModel, SequenceSpec
from lmrun.settings.prediction import PredictionConfig
from tests.engines.llama_cpp.scheduling.storms.worlds import ADAPTERS, CUTTABLE, World
from tests.support.pictures import encode, noise

_BEGINNINGS = tuple(
    tuple(32 + (step * position + step) % 90 for position in range(400)) for step in (7, 11, 13)
)
_SHORTEST_TAIL = 8
_ALWAYS = 120
_REGEX = "ab{3,9}-the-middle-of-it-(yes|no)[a-f]{0,9}"
_SCHEMA = {
    "type": "object",
    "properties": {"a_long_property_name": {"type": "boolean"}, "b": {"enum": [1, 2, "three"]}},
    "required": ["a_long_property_name", "b"],
    "additionalProperties": False,
}
_STRUCTURED: tuple[dict[str, Any], ...] = (
    {"type": "regex", "regex": _REGEX},
    {"type": "json", "json_schema": _SCHEMA},
    {"type": "choice", "choices": ["the first of all choices", "the second", "another one"]},
)
_POLICIES = ("stopAtLimit", "truncateMiddle", "rollingWindow")


@dataclass(frozen=True, slots=True)
class Request:
    """`pieces`: of the prompt, token ids and numbers of pictures. `keep`: see SequenceSpec."""

    pieces: tuple[tuple[int, ...] | int, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    keep: int = 0
    draft_model: str | None = None

    @property
    def is_shifting(self) -> bool:
        return "context_overflow_policy" in self.settings

    @property
    def is_greedy(self) -> bool:
        return not self.settings["temperature"]

    @property
    def is_strict(self) -> bool:
        return "deterministic" in self.settings

    @property
    def may_shift_while_forced(self) -> bool:
        """A full context shifts after forced tokens, so that these decide what it drops."""
        return self.is_shifting and "structured" in self.settings

    def to_spec(self, id: int, model: LoadedModel, **changes: Any) -> SequenceSpec:
        """The sequence for `model`, with `changes` to its settings."""
        prediction = PredictionConfig.model_validate({**self.settings, **changes})
        (first, *others) = self.pieces
        assert isinstance(first, tuple)
        if not others:
            return SequenceSpec(id, first, prediction, keep=self.keep, draft_model=self.draft_model)
        pieces = [
            _show(piece) if isinstance(piece, int) else _spell(piece) for piece in self.pieces
        ]
        prompt, images = model.prepare_prompt(pieces, add_special=False)
        return SequenceSpec(id, prompt, prediction, images=images, keep=self.keep)


class Requests:
    """Draws requests for one world."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        self._sameness = random.choice([0.0, 0.1, 0.7])
        self._known: list[tuple[int, ...]] = []
        self._drawn: list[Request] = []

    def draw(self) -> Request:
        """A new request, or one that was made before, now with guesses where there may be some."""
        if self._drawn and self._random.random() < 0.3:
            again = self._random.choice(self._drawn)
            if self._world.kind in CUTTABLE and not again.is_strict:
                again = replace(again, settings={**again.settings, "prompt_lookup": True})
            return again
        self._drawn.append(self._draw_new())
        return self._drawn[-1]

    def learn(self, tokens: tuple[int, ...]) -> None:
        """A prompt with its answer, which later prompts may go on from."""
        self._known.append(tokens)

    def _draw_new(self) -> Request:
        random, world = self._random, self._world
        settings = self._draw_settings()
        prompt = self._draw_prompt()
        pieces: list[tuple[int, ...] | int] = [prompt]
        if world.kind == "seeing" and random.random() < 0.6:
            for _ in range(random.choice([1, 1, 2])):
                pieces += [random.randrange(3), self._draw_tail()]
            settings.pop("context_overflow_policy", None)
            settings.pop("echo", None)
        draft = None
        if world.draft and random.random() < 0.2 and settings.get("deterministic") != "strict":
            draft = str(world.draft)
        keep = random.choice([0, 5, 20, world.context_length - 8])
        return Request(tuple(pieces), settings, min(keep, len(prompt)), draft)

    def _draw_prompt(self) -> tuple[int, ...]:
        random, length = self._random, self._world.context_length
        if random.random() < self._sameness:
            return (_ALWAYS,) * random.randint(1, length)
        if self._known and random.random() < 0.3:
            beginning = random.choice(self._known)
        else:
            beginning = random.choice(_BEGINNINGS)
            beginning = beginning[: random.choice([0, 3, 20, 33, length // 2, length, 2 * length])]
        tail = () if beginning and random.random() < 0.15 else self._draw_tail()
        return (*beginning, *tail)

    def _draw_tail(self) -> tuple[int, ...]:
        length = self._random.randint(_SHORTEST_TAIL, 30)
        return tuple(self._random.randint(32, 122) for _ in range(length))

    def _draw_settings(self) -> dict[str, Any]:
        random = self._random
        settings: dict[str, Any] = {
            "temperature": 0,
            "repeat_penalty": 1.0,
            "max_tokens": random.choice([0, 1, 2, 7, 20, 20, 40, 150, -1]),
            "seed": random.randrange(100),
        }
        if random.random() < self._sameness:
            # One token for ever: every such sequence begins like every other.
            settings["logit_bias"] = {_ALWAYS: 100.0}
        elif random.random() < 0.15:
            # These answers are not compared: no log probability says how close they are.
            settings |= {"temperature": 0.8, "repeat_penalty": 1.1}
        for draw in (self._draw_output, self._draw_method, self._draw_policy):
            settings |= draw()
        if settings.get("context_overflow_policy") and settings["max_tokens"] < 0:
            settings["max_tokens"] = 2 * self._world.context_length
        return settings

    def _draw_output(self) -> dict[str, Any]:
        random = self._random
        output: dict[str, Any] = {}
        if random.random() < 0.2:
            output["logprobs"] = random.choice([0, 3])
            output["echo"] = random.random() < 0.6
        if random.random() < 0.2:
            output["structured"] = random.choice(_STRUCTURED)
        if random.random() < 0.2:
            output["stop_token_ids"] = [random.randrange(500) for _ in range(20)]
        return output

    def _draw_method(self) -> dict[str, Any]:
        random, world = self._random, self._world
        method: dict[str, Any] = {}
        if random.random() < 0.1 and world.kind != "seeing":
            method["deterministic"] = "strict"
        elif world.kind in CUTTABLE and random.random() < 0.4:
            method["prompt_lookup"] = True
        if world.attachments.adapters and random.random() < 0.4:
            method["adapters"] = random.choice([{}, {ADAPTERS[0]: 1.0}, {ADAPTERS[1]: 0.5}])
        return method

    def _draw_policy(self) -> dict[str, Any]:
        policy = self._random.choice(_POLICIES)
        return {} if policy == "stopAtLimit" else {"context_overflow_policy": policy}


@cache
def _show(picture: int) -> bytes:
    return encode(noise(seed=picture))


def _spell(tokens: tuple[int, ...]) -> str:
    return bytes(32 + token % 90 for token in tokens).decode()
