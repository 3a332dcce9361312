"""Templates that a profile gives a model: named ones, and LM Studio's manual form."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from lmrun.chat.formats.choose import choose_format
from lmrun.chat.messages import Conversation, Message
from lmrun.errors import SettingRefused
from lmrun.settings.prompt_template import ManualTemplate, PromptTemplate, TemplateName
from lmrun.worker.rendering.environment import compile_template
from lmrun.worker.rendering.overrides import (
    NAMED,
    STOP_STRINGS,
    Override,
    check_override,
    write_override,
)
from lmrun.worker.rendering.templates import make_renderer
from tests.support.published_templates import published_templates
from tests.worker.rendering.conversations import CONVERSATIONS

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
NAMES: tuple[TemplateName, ...] = get_args(TemplateName)
SYSTEM, USER = Message("system", "Be brief."), Message("user", "Hi")
ASSISTANT, AGAIN = Message("assistant", "Hello."), Message("user", "And?")


def render(template: PromptTemplate, conversation: Conversation) -> str:
    return make_renderer(write_override(template).source, TOKENS)(conversation, "")


def test_every_name_has_a_template_and_what_ends_its_messages() -> None:
    assert {path.stem for path in NAMED.iterdir()} == set(NAMES) == set(STOP_STRINGS)
    for name in NAMES:
        compile_template(write_override(PromptTemplate(name=name)).source)


EXPECTED: dict[TemplateName, str] = {
    "alpaca": "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello.</s>\n\n"
    "### Instruction:\nAnd?\n\n### Response:\n",
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n"
    "<|im_start|>assistant\n",
    "gemma": "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n"
    "<start_of_turn>model\nHello.<end_of_turn>\n<start_of_turn>user\nAnd?<end_of_turn>\n"
    "<start_of_turn>model\n",
    "llama2": "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello. </s>"
    "<s>[INST] And? [/INST]",
    "llama3": "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nAnd?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistral": "<s>[INST]Be brief.\n\nHi[/INST]Hello.</s>[INST]And?[/INST]",
    "phi4": "<|im_start|>system<|im_sep|>Be brief.<|im_end|><|im_start|>user<|im_sep|>Hi<|im_end|>"
    "<|im_start|>assistant<|im_sep|>Hello.<|im_end|><|im_start|>user<|im_sep|>And?<|im_end|>"
    "<|im_start|>assistant<|im_sep|>",
    "phi4-mini": "<|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>Hello.<|end|>"
    "<|user|>And?<|end|><|assistant|>",
    "qwen2.5": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n"
    "<|im_start|>assistant\n",
    "vicuna": "Be brief.\n\nUSER: Hi\nASSISTANT: Hello.</s>\nUSER: And?\nASSISTANT:",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_named_template_writes_its_format(name: TemplateName) -> None:
    conversation = Conversation((SYSTEM, USER, ASSISTANT, AGAIN))
    assert render(PromptTemplate(name=name), conversation) == EXPECTED[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_named_template_takes_every_conversation(name: TemplateName) -> None:
    """Unlike some published ones: several system messages, several calls, no user at all."""
    for given in CONVERSATIONS.values():
        assert render(PromptTemplate(name=name), given.ours)
    odd = Conversation((SYSTEM, SYSTEM, ASSISTANT, USER, AGAIN, SYSTEM))
    assert "And?" in render(PromptTemplate(name=name), odd)
    render(PromptTemplate(name=name), Conversation(()))


SAME = {
    "qwen2.5": ("Qwen-Qwen2.5-7B-Instruct", set(CONVERSATIONS)),
    "llama3": ("meta-llama-Llama-3.2-3B-Instruct", set(CONVERSATIONS) - {"parallel"}),
    # Of those with a system message and several turns only one shows it at the beginning.
    "mistral": ("mistralai-Mistral-Nemo-Instruct-2407", set(CONVERSATIONS) - {"turns", "answer"}),
    "gemma": ("google-gemma-2-2b-it", {"plain", "reasoning"}),
}
"""Published templates of the same formats, and the conversations that both take."""


def without_claims(prompt: str) -> str:
    """Without what only the published models say of themselves, and a space that Meta forgot."""
    claims = (
        r"You are Qwen, created by Alibaba Cloud\. |Cutting Knowledge Date: .*\nToday Date: .*\n"
    )
    prompt = re.sub(claims, "", prompt).replace("value}.Do", "value}. Do")
    return prompt.replace("<|start_header_id|>system<|end_header_id|>\n\n\n<|eot_id|>", "").replace(
        "system<|end_header_id|>\n\n\n", "system<|end_header_id|>\n\n"
    )


@pytest.mark.parametrize("name", SAME)
def test_a_named_template_writes_what_published_ones_write(name: TemplateName) -> None:
    published, kinds = SAME[name]
    reference = make_renderer(published_templates()[published], TOKENS)
    for kind in kinds:
        conversation = CONVERSATIONS[kind].ours
        expected = without_claims(reference(conversation, ""))
        assert render(PromptTemplate(name=name), conversation) == expected, kind


@pytest.mark.parametrize(
    ("name", "tool_format"),
    [
        ("qwen2.5", "hermes"),
        ("llama3", "llama"),
        ("mistral", "mistral"),
        ("phi4-mini", "phi"),
        ("chatml", "default"),
    ],
)
def test_a_model_with_a_named_template_calls_tools_in_that_format(
    name: TemplateName, tool_format: str
) -> None:
    source = write_override(PromptTemplate(name=name)).source
    assert choose_format(source).name == tool_format


MANUAL = ManualTemplate(
    before_system="<S>",
    after_system="</S>\n",
    before_user="<U>",
    after_user="</U>\n",
    before_assistant="<A>",
    after_assistant="</A>\n",
    stop_strings=("</A>", "<U>"),
)


def test_a_manual_template_writes_what_it_says() -> None:
    conversation = Conversation((SYSTEM, USER, ASSISTANT, AGAIN))
    assert render(PromptTemplate(manual=MANUAL), conversation) == (
        "<S>Be brief.</S>\n<U>Hi</U>\n<A>Hello.</A>\n<U>And?</U>\n<A>"
    )
    assert write_override(PromptTemplate(manual=MANUAL)).stop_strings == ("</A>", "<U>")


@pytest.mark.parametrize(
    "text",
    [
        "{{ messages }}",
        "{% raw %}",
        "'\"\\ \\n \\u0041 \\",
        " \n\t\r\n ",
        "{# }} %} -}} #}",
        "é€😀\u2028\x85\x7f\\N{DASH}",
        "line one\nline two\n",
    ],
)
def test_a_manual_template_is_text_whatever_it_holds(text: str) -> None:
    template = PromptTemplate(manual=ManualTemplate(before_user=text, after_user=text))
    assert render(template, Conversation((USER,))) == f"{text}Hi{text}"


def test_a_template_that_is_none_is_refused_with_its_line() -> None:
    with pytest.raises(SettingRefused) as caught:
        check_override(Override("a\nb\n{% for %}"))
    assert caught.value.param == "prompt_template"
    assert "line 3: " in caught.value.message
