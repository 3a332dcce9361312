"""Which format a model's chat template asks for: those that models are published with, and a few
that they are not."""

from __future__ import annotations

import pytest

from lmrun.chat.formats.choose import FORMATS, choose_format
from tests.support.published_templates import published_templates

PUBLISHED = {
    "Apertus-8B-Instruct": "apertus",
    "Apriel-1.6-15b-Thinker-fixed": "apriel",
    "Bielik-11B-v3.0-Instruct": "hermes",
    "ByteDance-Seed-OSS": "seed_oss",
    "Cohere2MoE": "command_r",
    "CohereForAI-c4ai-command-r-plus-tool_use": "command_r_fenced",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": "command_r",
    "GLM-4.6": "glm",
    "GLM-4.7-Flash": "glm",
    "GigaChat3-10B-A1.8B": "default",
    "GigaChat3.1-10B-A1.8B": "gigachat",
    "HuggingFaceTB-SmolLM3-3B": "default",
    "Kimi-K2-Instruct": "kimi_k2",
    "Kimi-K2-Thinking": "kimi_k2",
    "Kimi-K3": "default",
    "LFM2-8B-A1B": "lfm2",
    "LFM2.5-8B-A1B": "lfm2",
    "LFM2.5-Instruct": "lfm2",
    "MiMo-VL": "hermes",
    "MiniMax-M1": "minimax_m1",
    "MiniMax-M2": "minimax_m2",
    "MiniMax-M3": "default",
    "Mistral-Small-3.2-24B-Instruct-2506": "mistral_named",
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": "qwen_coder",
    "NVIDIA-Nemotron-Nano-v2": "nemotron",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": "hermes",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "hermes",
    "Qwen-QwQ-32B": "hermes",
    "Qwen-Qwen2.5-7B-Instruct": "hermes",
    "Qwen-Qwen3-0.6B": "hermes",
    "Qwen3-Coder": "qwen_coder",
    "Qwen3.5-4B": "qwen_coder",
    "Reka-Edge": "hermes",
    "Spark2.5": "glm",
    "StepFun3.5-Flash": "qwen_coder",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "default",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "default",
    "deepseek-ai-DeepSeek-V3.1": "deepseek_v3_1_prompted",
    "deepseek-ai-DeepSeek-V3.2": "deepseek_v3_2",
    "deepseek-ai-DeepSeek-V4": "deepseek_v4",
    "deepseek-ai-DeepSeek-V4-Flash-0731": "deepseek_v4",
    "fireworks-ai-llama-3-firefunction-v2": "firefunction",
    "google-gemma-2-2b-it": "default",
    "google-gemma-4-31B-it": "gemma_4",
    "google-gemma-4-31B-it-interleaved": "gemma_4",
    "ibm-granite-granite-3.3-2B-Instruct": "granite",
    "ibm-granite-granite-4.0": "hermes",
    "ibm-granite-granite-4.1": "hermes",
    "inclusionai-ling-3.0-flash": "glm",
    "llama-cpp-deepseek-r1": "deepseek",
    "llama-cpp-rwkv-world": "default",
    "llm-jp-llm-jp-4.1-8b-thinking": "harmony",
    "meetkai-functionary-medium-v3.1": "functionary_tags",
    "meetkai-functionary-medium-v3.2": "functionary_recipients",
    "meta-llama-Llama-3.1-8B-Instruct": "llama",
    "meta-llama-Llama-3.2-3B-Instruct": "llama",
    "meta-llama-Llama-3.3-70B-Instruct": "llama",
    "microsoft-Phi-3.5-mini-instruct": "default",
    "mistralai-Ministral-3-14B-Reasoning-2512": "mistral_named",
    "mistralai-Mistral-Nemo-Instruct-2407": "mistral",
    "moonshotai-Kimi-K2": "kimi_k2",
    "muse-glimmer": "default",
    "openai-gpt-oss-120b": "harmony",
    "openbmb-MiniCPM5-1B": "minicpm5",
    "poolside-Laguna-S-2.1": "glm",
    "poolside-Laguna-XS-2.1": "glm",
    "poolside-Laguna-XS.2": "glm",
    "tencent-Hy3": "hunyuan",
    "unsloth-Apriel-1.5": "apriel",
    "unsloth-mistral-Devstral-Small-2507": "mistral_named",
    "upstage-Solar-Open-100B": "solar_open",
}
"""`default`: templates that show no tools, and those whose format nobody here reads."""


def test_every_published_template_has_its_format() -> None:
    chosen = {name: choose_format(text).name for name, text in published_templates().items()}
    assert chosen == PUBLISHED


def test_no_two_formats_claim_one_published_template() -> None:
    """So it is not their order that decides."""
    for name, text in published_templates().items():
        claimed = [each.name for each in FORMATS if each.matches(text)]
        assert claimed == [PUBLISHED[name]] or not claimed, name


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (
            "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% if m['tools'] %}"
            "{{ '<|tool|>' + m['tools'] + '<|/tool|>' }}{% endif %}{{ '<|end|>' }}{% endfor %}",
            "phi",
        ),
        (
            "{{ '<start_of_turn>user\n' }}{% if tools %}{{ 'Write ```tool_code' }}{% endif %}",
            "gemma",
        ),
        (
            "{{ '<start_function_call>call:' + name + '{' }}{{ '<escape>' }}{{ tools }}"
            "{{ '<start_of_turn>model' }}",
            "function_gemma",
        ),
    ],
)
def test_templates_that_are_published_elsewhere_have_theirs(template: str, name: str) -> None:
    assert choose_format(template).name == name


def test_names_are_unique() -> None:
    names = [each.name for each in FORMATS]
    assert len(names) == len(set(names))
