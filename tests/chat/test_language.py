"""What a chat template's own text tells of how its model speaks."""

from __future__ import annotations

import pytest
from jinja2 import TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lmrun.chat.language import read_language
from lmrun.chat.template_source import find_variables, reads_tools
from tests.support.published_templates import published_templates

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m['content'] }}{% endfor %}"


@pytest.mark.parametrize("template", [None, "", CHATML])
def test_a_plain_model_has_the_default_format_and_nothing_else(template: str | None) -> None:
    language = read_language(template)
    assert language.tool_format.name == "default"
    assert language.reasoning is None
    assert language.variables == frozenset()


@pytest.mark.parametrize(
    ("source", "variables"),
    [
        ("{% if enable_thinking %}x{% endif %}", {"enable_thinking"}),
        ("{{ reasoning_effort | default('medium') }}", {"reasoning_effort"}),
        ("{% set a = b %}{{ a }}", {"b"}),
        ("{% if a is not defined %}{% set a = true %}{% endif %}{{ a }}", {"a"}),
        ("{%- set a = a|default(1) -%}", {"a"}),
        ("{% for key, value in pairs|items if key is string %}{{ value }}{% endfor %}", {"pairs"}),
        (
            "{% macro show(x, y=none) %}{{ x ~ y if y is defined }}{% endmacro %}{{ show(z) }}",
            {"z"},
        ),
        ("{{ 'not enable_thinking' }} {{ \"{{ neither }}\" }} text thinking", set()),
        (
            "{# enable_thinking #}{{ messages.enable_thinking }}{{ messages.a is defined }}",
            set(),
        ),
        ("{{ f(tools, name=effort) }}{{ messages|tojson(indent=4) }}", {"effort"}),
        ("{% set ns = namespace(a=1) %}{% set ns.a = ns.a + b %}", {"b"}),
        (
            "{{ bos_token + eos_token }}{% if add_generation_prompt == thinking %}{% endif %}",
            {"thinking"},
        ),
        ("{% filter trim %}{{ a }}{% endfilter %}", {"a"}),
        ("{{ unclosed", set()),
    ],
)
def test_a_request_may_choose_what_the_template_reads_and_does_not_set(
    source: str, variables: set[str]
) -> None:
    assert find_variables(source) == variables


@pytest.mark.parametrize("name", published_templates())
def test_variables_of_published_templates_are_none_that_jinja_does_not_see(name: str) -> None:
    """Jinja itself also names what a template sets in one branch only, which is not to choose."""
    source = published_templates()[name]
    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    try:
        undeclared = meta.find_undeclared_variables(environment.parse(source))
    except TemplateSyntaxError:  # tags of Hugging Face's own, which jinja's parser does not know
        assert "endgeneration" in source
        return
    variables = find_variables(source)
    # A name that another branch sets counts where the template asks for it.
    assert {v for v in variables - undeclared if f"{v} is" not in source} == set()
    switches = {"enable_thinking", "thinking", "reasoning_effort", "builtin_tools", "date_string"}
    assert variables & switches == undeclared & switches


def test_only_code_that_reads_tools_shows_them() -> None:
    assert reads_tools("{% if tools %}{% endif %}")
    assert reads_tools("{{ '<tools>' }}{%- for t in tools -%}{% endfor %}")
    assert not reads_tools("{{ 'Here are tools' }}{# tools #} tools {{ message.tools }}")


def test_what_a_template_does_not_show_is_not_its_model_s_language() -> None:
    """DeepSeek's distillations write earlier calls, but are never told of tools."""
    template = published_templates()["deepseek-ai-DeepSeek-R1-Distill-Qwen-32B"]
    assert read_language(template).tool_format.name == "default"
