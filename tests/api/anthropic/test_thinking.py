"""A wish to think is told to the templates that can hear it; no other model is bothered."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.api.anthropic.convert import add_thinking, to_request
from lmrun.chat.language import read_language
from lmrun.chat.request import Request, Thinking
from lmrun.errors import UnsupportedParameter
from tests.api.anthropic.bodies import parse

PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"
SWITCHED = PLAIN + "{% if enable_thinking %}<think>{% else %}<think></think>{% endif %}"
ALWAYS = PLAIN + "<think>\n"
EFFORT = PLAIN + "{{ reasoning_effort }}"
BUDGET = SWITCHED + "{{ thinking_budget }}"

ENABLED = {"type": "enabled", "budget_tokens": 2048}
ADAPTIVE = {"type": "adaptive"}
DISABLED = {"type": "disabled"}


def tell(template: str | None, **parameters: Any) -> Request:
    request = parse(**parameters)
    return add_thinking(to_request(request).prompt, request, read_language(template))


@pytest.mark.parametrize(
    ("template", "config", "expected"),
    [
        (SWITCHED, None, Thinking()),
        (SWITCHED, ENABLED, Thinking(enabled=True)),
        (SWITCHED, ADAPTIVE, Thinking()),
        (SWITCHED, DISABLED, Thinking(enabled=False)),
        (PLAIN, ENABLED, Thinking()),
        (PLAIN, DISABLED, Thinking()),
        (None, ENABLED, Thinking()),
        (ALWAYS, ENABLED, Thinking()),
        (ALWAYS, ADAPTIVE, Thinking()),
    ],
)
def test_a_switch_is_turned_where_there_is_one(
    template: str | None, config: Any, expected: Thinking
) -> None:
    given = {} if config is None else {"thinking": config}
    assert tell(template, **given).thinking == expected


def test_a_model_that_always_thinks_cannot_be_silenced() -> None:
    with pytest.raises(UnsupportedParameter, match="always thinks") as caught:
        tell(ALWAYS, thinking=DISABLED)
    assert caught.value.param == "thinking"


def test_a_budget_reaches_the_templates_that_take_one() -> None:
    assert tell(BUDGET, thinking=ENABLED).variables == {"thinking_budget": 2048}
    assert tell(SWITCHED, thinking=ENABLED).variables == {}


@pytest.mark.parametrize(
    ("effort", "told"),
    [("low", "low"), ("medium", "medium"), ("high", "high"), ("xhigh", "high"), ("max", "high")],
)
def test_effort_reaches_the_templates_that_take_it(effort: str, told: str) -> None:
    config = {"effort": effort}
    assert tell(EFFORT, output_config=config).thinking == Thinking(effort=told)
    assert tell(PLAIN, output_config=config).thinking == Thinking()
