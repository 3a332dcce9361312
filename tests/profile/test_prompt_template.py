"""`prompt_template` in a profile: three forms, of which exactly one, and errors at their places."""

from __future__ import annotations

import pytest

from lmrun.profile.schema import ModelConfig
from lmrun.settings.prompt_template import MAX_JINJA_BYTES, PromptTemplate
from tests.profile.support import find_problems, load, show

M = "version: 1\nmodels:\n  m:\n    source: file:./m.gguf\n"


def read(text: str, **files: str) -> PromptTemplate | None:
    profile = load(M + text, files={name.replace("_", "."): it for name, it in files.items()})
    return profile.profile.models["m"].prompt_template


def test_a_model_has_its_own_template_unless_the_profile_says_otherwise() -> None:
    assert read("") is None


def test_a_template_has_a_name() -> None:
    assert read("    prompt_template: {name: qwen2.5}\n") == PromptTemplate(name="qwen2.5")


def test_a_template_is_written_in_the_profile() -> None:
    lines = "        {% for m in messages %}\n        {%- endfor %}\n"
    text = f"    prompt_template:\n      jinja: |-\n{lines}"
    assert read(text) == PromptTemplate(jinja="{% for m in messages %}\n{%- endfor %}")


def test_a_template_is_in_a_file_beside_the_profile() -> None:
    text = "    prompt_template: {jinja: '${file:chat.jinja}'}\n"
    assert read(text, chat_jinja="{{ messages[0].content }}\n") == PromptTemplate(
        jinja="{{ messages[0].content }}"
    )


def test_a_template_is_what_stands_before_and_after_each_message() -> None:
    fields = 'before_user: "U: ", after_user: "\\n", stop_strings: ["U:"]'
    template = read(f"    prompt_template: {{manual: {{{fields}}}}}\n")
    assert template is not None and template.manual is not None
    assert (template.manual.before_user, template.manual.after_user) == ("U: ", "\n")
    assert template.manual.stop_strings == ("U:",)
    assert template.manual.before_assistant == ""


PROBLEMS = {
    "none of them": (
        "    prompt_template: {}\n",
        "main.yaml:5:22: models.m.prompt_template: "
        "must have exactly one of `jinja`, `manual` and `name`",
    ),
    "two of them": (
        "    prompt_template:\n      name: chatml\n      jinja: x\n",
        "main.yaml:6:7: models.m.prompt_template: "
        "must have exactly one of `jinja`, `manual` and `name`",
    ),
    "a name alone": (
        "    prompt_template: chatml\n",
        "main.yaml:5:22: models.m.prompt_template: must be a mapping (`key: value`), not text",
    ),
    "an unknown name": (
        "    prompt_template: {name: chatlm}\n",
        "main.yaml:5:29: models.m.prompt_template.name: "
        "must be `alpaca`, `chatml`, `gemma`, `llama2`, `llama3`, `mistral`, `phi4`, `phi4-mini`, "
        "`qwen2.5` or `vicuna`",
    ),
    "an empty text": (
        "    prompt_template: {jinja: ''}\n",
        "main.yaml:5:30: models.m.prompt_template.jinja: must not be empty",
    ),
    "a text that is too long": (
        f"    prompt_template: {{jinja: '{'x' * (MAX_JINJA_BYTES + 1000)}'}}\n",
        "main.yaml:5:30: models.m.prompt_template.jinja: must have at most 256 kB, not 257",
    ),
    "a role that there is not": (
        "    prompt_template: {manual: {before_usr: x}}\n",
        "main.yaml:5:32: models.m.prompt_template.manual.before_usr: "
        "unknown key; did you mean `before_user`?",
    ),
    "no text": (
        "    prompt_template: {manual: {before_user: 1}}\n",
        "main.yaml:5:45: models.m.prompt_template.manual.before_user: "
        "must be text, not a number; put it in quotes",
    ),
    "an empty stop string": (
        "    prompt_template: {manual: {stop_strings: ['']}}\n",
        "main.yaml:5:47: models.m.prompt_template.manual.stop_strings[0]: must not be empty",
    ),
    "a file that is not there": (
        "    prompt_template: {jinja: '${file:none.jinja}'}\n",
        "main.yaml:5:30: models.m.prompt_template.jinja: /profiles/none.jinja: no such file",
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_wrong_template_has_one_problem_at_its_place(name: str) -> None:
    text, expected = PROBLEMS[name]
    assert show(find_problems(M + text)) == expected


def test_a_template_is_named_on_one_line() -> None:
    def describe(**template: object) -> str:
        return str(PromptTemplate.model_validate(template))

    assert describe(name="llama3") == "llama3"
    assert describe(jinja="a\nb").startswith("jinja (")
    assert describe(manual={}).startswith("manual (")
    assert describe(jinja="a") != describe(jinja="b")


def test_a_model_s_template_is_described_for_editors() -> None:
    schema = ModelConfig.model_json_schema()["$defs"]["PromptTemplate"]
    assert (schema["minProperties"], schema["maxProperties"]) == (1, 1)
    assert schema["additionalProperties"] is False
