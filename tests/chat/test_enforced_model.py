"""A real model whose calls are enforced: whatever it would rather say, it calls, and rightly."""

from __future__ import annotations

import json
from collections.abc import Iterator

import jsonschema
import pytest

from lmrun.chat.formats.base import ToolFormat
from lmrun.chat.formats.default import Default
from lmrun.chat.formats.objects.hermes import Hermes
from lmrun.chat.messages import Conversation, Message, ToolCall
from lmrun.chat.request import ToolChoice
from lmrun.engines.base import LoadedModel, SequenceSpec, TokenProduced
from lmrun.engines.registry import get_engine
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig
from lmrun.worker.rendering.templates import make_renderer
from tests.chat.recordings import read
from tests.chat.toolbox import make_tool
from tests.support.engines import drain
from tests.support.published_templates import published_templates
from tests.support.smollm2 import smollm2_path

TOOLS = (
    make_tool("get_weather", ("city",), city={"type": "string", "maxLength": 12}, days="integer"),
    make_tool(
        "paint",
        ("colour", "sides"),
        colour={"type": "string", "enum": ["red", "green"]},
        sides={"type": "integer", "minimum": 3, "maximum": 12},
    ),
)
SEEDS = range(3)
MOST_TOKENS = 120


@pytest.fixture(scope="module")
def model() -> Iterator[LoadedModel]:
    config = LoadConfig(context_length=4096, max_parallel_predictions=3)
    loaded = get_engine("llama_cpp").load(
        smollm2_path(), config, threads=2, on_progress=lambda fraction: None
    )
    yield loaded
    loaded.close()


def render(tool_format: ToolFormat, model: LoadedModel) -> str:
    ask = Message(role="user", content="Paint something green, then tell me the weather in Rome.")
    conversation = tool_format.adapt(Conversation((ask,), tools=TOOLS))
    template = model.info.chat_template
    if conversation.tools:  # the model's own shows none
        template = published_templates()["Qwen-Qwen2.5-7B-Instruct"]
    assert template is not None
    return make_renderer(template, {"bos_token": "", "eos_token": ""})(conversation, "")


def call(
    model: LoadedModel, tool_format: ToolFormat, choice: ToolChoice
) -> Iterator[tuple[str, tuple[ToolCall, ...]]]:
    """What the model writes at temperature 1, and its calls, once for each seed."""
    tools = [tool for tool in TOOLS if choice.name in (None, tool.name)]
    grammar = tool_format.make_grammar(tools, choice)
    prompt = tuple(
        model.tokenize(render(tool_format, model), add_special=False, parse_special=True)
    )
    for seed in SEEDS:
        prediction = PredictionConfig(
            temperature=1, seed=seed, max_tokens=MOST_TOKENS, structured=grammar
        )
        model.add(SequenceSpec(seed, prompt, prediction))
    events = drain(model)
    for seed in SEEDS:
        pieces = [event.piece for event in events[seed] if isinstance(event, TokenProduced)]
        said = b"".join(pieces).decode(errors="ignore")
        yield said, read(tool_format.make_parser(TOOLS), [said]).tool_calls


@pytest.mark.parametrize(
    ("tool_format", "name"),
    [(Default(), None), (Default(), "paint"), (Hermes(), None), (Hermes(), "get_weather")],
    ids=["default", "default, named", "hermes", "hermes, named"],
)
def test_a_required_call_satisfies_its_schema_at_any_seed(
    model: LoadedModel, tool_format: ToolFormat, name: str | None
) -> None:
    choice = ToolChoice("required", name=name, parallel=False)
    for said, calls in call(model, tool_format, choice):
        assert len(calls) == 1, said
        assert name is None or calls[0].name == name
        schema = next(tool.parameters for tool in TOOLS if tool.name == calls[0].name)
        jsonschema.validate(json.loads(calls[0].arguments), schema)
