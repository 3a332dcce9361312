"""Published templates are rendered as transformers render them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

import pytest
from transformers.utils import chat_template_utils

from lmrun.worker.rendering import environment, templates
from lmrun.worker.rendering.client import TemplateRenderer
from lmrun.worker.rendering.exchange import Template
from tests.support import reference_templates
from tests.support.published_templates import published_templates
from tests.worker.rendering.conversations import CONVERSATIONS, Given, picture

TEMPLATES = published_templates()
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
MARKER = "a-marker-that-nobody-writes"

_CALLS = {"result", "answer", "parallel", "reasoning and call"}
_NO_TOOLS = {"plain", "system", "turns", "reasoning"}
RAISING: dict[str, set[str]] = {
    # Of their publisher's two templates these are the ones for tools: they iterate over None.
    "CohereForAI-c4ai-command-r-plus-tool_use": _NO_TOOLS,
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": _NO_TOOLS,
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": _NO_TOOLS,
    # They append to lists, which the sandbox of transformers forbids.
    "Kimi-K2-Instruct": _CALLS,
    "Kimi-K2-Thinking": _CALLS,
    # It reads `functions` and `datetime`, which only its publisher's own program passes.
    "fireworks-ai-llama-3-firefunction-v2": set(CONVERSATIONS),
    # No system message, and user and assistant in turn.
    "google-gemma-2-2b-it": set(CONVERSATIONS) - {"plain", "reasoning"},
    # It gives a generator to `tojson`; llama.cpp's own Jinja makes lists there.
    "llama-cpp-deepseek-r1": _CALLS | {"tools"},
    # "This model only supports single tool-calls at once!"
    "meta-llama-Llama-3.1-8B-Instruct": {"parallel"},
    "meta-llama-Llama-3.2-3B-Instruct": {"parallel"},
    "meta-llama-Llama-3.3-70B-Instruct": {"parallel"},
}
"""Conversations that a template refuses, here as there, and why."""

PLACES = {
    "Apriel-1.6-15b-Thinker-fixed": "[IMG]",
    "Cohere2MoE": "<|IMG_PATCH|>",
    "Kimi-K2-Instruct": "<|media_start|>image<|media_content|><|media_pad|><|media_end|>",
    "Kimi-K2-Thinking": "<|media_start|>image<|media_content|><|media_pad|><|media_end|>",
    "Kimi-K3": "<|kimi_image_placeholder|>",
    "LFM2.5-8B-A1B": "<image>",
    "MiniMax-M3": "]<]image[>[",
    "Mistral-Small-3.2-24B-Instruct-2506": "[IMG]",
    "Reka-Edge": "<image>" + "<REKA_IMG_TOKEN>" * 64 + "</image>",
    "Qwen3.5-4B": "<|vision_start|><|image_pad|><|vision_end|>",
    "StepFun3.5-Flash": "<im_patch>",
    "google-gemma-4-31B-it": "<|image|>",
    "google-gemma-4-31B-it-interleaved": "<|image|>",
    "mistralai-Ministral-3-14B-Reasoning-2512": "[IMG]",
    "moonshotai-Kimi-K2": "<|media_start|>image<|media_content|><|media_pad|><|media_end|>",
    "muse-glimmer": "<|patch|>",
    "unsloth-Apriel-1.5": "[IMG]",
    "unsloth-mistral-Devstral-Small-2507": "[IMG]",
}
"""What a template that takes pictures writes for one."""


class Noon(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: Any = None) -> Noon:
        return cls(2026, 11, 25, 12, 0, 0)


@pytest.fixture(autouse=True)
def the_same_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "datetime", Noon)
    monkeypatch.setattr(chat_template_utils, "datetime", Noon)


def ours(source: str, conversations: Mapping[str, Given]) -> dict[str, str | None]:
    """Our prompts; None where the template raises."""
    render = templates.make_renderer(source, TOKENS)

    def try_one(given: Given) -> str | None:
        try:
            return render(given.ours, MARKER)
        except Exception:  # the template's own code: it may raise anything
            return None

    return {kind: try_one(given) for kind, given in conversations.items()}


def theirs(source: str, conversations: Mapping[str, Given]) -> dict[str, str | None]:
    """What transformers make of the same conversations."""
    return {
        kind: reference_templates.render(source, given.theirs, given.tools, **TOKENS)
        for kind, given in conversations.items()
    }


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_published_template_is_rendered_as_transformers_render_it(name: str) -> None:
    prompts = theirs(TEMPLATES[name], CONVERSATIONS)
    assert ours(TEMPLATES[name], CONVERSATIONS) == prompts
    assert {kind for kind, prompt in prompts.items() if prompt is None} == RAISING.get(name, set())


def test_the_process_renders_what_its_function_renders() -> None:
    source = TEMPLATES["Qwen3.5-4B"]
    prompts = ours(source, CONVERSATIONS)
    with closing(TemplateRenderer(Template(source, **TOKENS))) as renderer:
        shown = {kind: renderer.render(given.ours) for kind, given in CONVERSATIONS.items()}
    assert shown == prompts


def test_enough_is_compared() -> None:
    refused = sum(len(kinds) for kinds in RAISING.values())
    assert len(TEMPLATES) * len(CONVERSATIONS) - refused >= 590
    comparable = [name for name in TEMPLATES if not RAISING.get(name)]
    assert len(comparable) >= 60


@pytest.mark.parametrize("name", PLACES)
def test_pictures_stand_where_the_template_puts_them(name: str) -> None:
    """The mark of a picture replaces all that the template writes for it: an engine that sees
    writes the tokens around a picture itself."""
    (prompt,) = ours(TEMPLATES[name], {"pictures": picture(None)}).values()
    (expected,) = theirs(TEMPLATES[name], {"pictures": picture(None)}).values()
    assert expected is not None and expected.count(PLACES[name]) == 2
    assert prompt == expected.replace(PLACES[name], MARKER)


@pytest.mark.parametrize("name", sorted(TEMPLATES.keys() - PLACES.keys()))
def test_a_template_without_pictures_gets_their_marks_as_text(name: str) -> None:
    given = {"pictures": picture(MARKER)}
    prompts = ours(TEMPLATES[name], given)
    assert prompts == theirs(TEMPLATES[name], given)
    assert (prompts["pictures"] or MARKER * 2).count(MARKER) == 2
