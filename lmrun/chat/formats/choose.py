"""The formats there are, and which one a chat template asks for."""

from __future__ import annotations

import re

from lmrun.chat.formats.base import ToolFormat
from lmrun.chat.formats.default import Default
from lmrun.chat.formats.function_gemma import FUNCTION_GEMMA, GEMMA_4
from lmrun.chat.formats.harmony import Harmony
from lmrun.chat.formats.objects.apertus import Apertus
from lmrun.chat.formats.objects.command_r import CommandR, FencedCommandR
from lmrun.chat.formats.objects.deepseek import DeepSeek
from lmrun.chat.formats.objects.firefunction import FireFunction
from lmrun.chat.formats.objects.functionary import FunctionaryRecipients, FunctionaryTags
from lmrun.chat.formats.objects.granite import Granite
from lmrun.chat.formats.objects.hermes import Hermes
from lmrun.chat.formats.objects.kimi import KimiK2
from lmrun.chat.formats.objects.llama import Llama
from lmrun.chat.formats.objects.mistral import Mistral
from lmrun.chat.formats.objects.objects_between_tags import (
    APRIEL,
    GIGACHAT,
    MINIMAX_M1,
    NEMOTRON,
)
from lmrun.chat.formats.objects.phi import Phi
from lmrun.chat.formats.objects.solar import SolarOpen
from lmrun.chat.formats.python_calls.gemma import Gemma
from lmrun.chat.formats.python_calls.lfm2 import Lfm2
from lmrun.chat.formats.tagged.glm import GLM, HUNYUAN
from lmrun.chat.formats.tagged.invocations import (
    DEEPSEEK_V3_2,
    DEEPSEEK_V4,
    MINICPM5,
    MINIMAX_M2,
    SEED_OSS,
)
from lmrun.chat.formats.tagged.qwen_coder import QwenCoder
from lmrun.chat.template_source import reads_tools

FORMATS: tuple[ToolFormat, ...] = (
    QwenCoder(),
    Hermes(),
    Mistral(is_named=True),
    Mistral(is_named=False),
    Llama(),
    Harmony(),
    CommandR(),
    FencedCommandR(),
    DeepSeek("deepseek", is_fenced=True),
    DeepSeek("deepseek_v3_1", is_fenced=False),
    DeepSeek("deepseek_v3_1_prompted", is_fenced=False, is_prompted=True),
    DEEPSEEK_V3_2,
    DEEPSEEK_V4,
    KimiK2(),
    GLM,
    HUNYUAN,
    MINIMAX_M1,
    MINIMAX_M2,
    MINICPM5,
    SEED_OSS,
    Granite(),
    Phi(),
    Lfm2(),
    Apertus(),
    SolarOpen(),
    NEMOTRON,
    APRIEL,
    GIGACHAT,
    FunctionaryTags(),
    FunctionaryRecipients(),
    FireFunction(),
    FUNCTION_GEMMA,
    GEMMA_4,
    Gemma(),
)
"""The first that matches is chosen: what is a special case of another one stands before it."""

_SHOW_TOOLS = frozenset({"phi", "firefunction", "deepseek_v3_1_prompted"})
"""Formats that show the tools themselves, to templates that read no `tools`."""

_REFUSES_SYSTEM = re.compile(r"raise_exception\(\s*['\"][^'\"]*[Ss]ystem (?:role|message)")


def choose_format(template: str | None) -> ToolFormat:
    """The format of the model with this chat template; None for one without. A template that does
    not show tools has the default format, even if it writes earlier calls in another one."""
    source = template or ""
    shows_tools = reads_tools(source)
    for each in FORMATS:
        shows = shows_tools or each.has_channels or each.name in _SHOW_TOOLS
        if shows and each.matches(source):
            return each
    return Default(takes_system=_takes_system(source))


def _takes_system(source: str) -> bool:
    """Whether the template shows a system message: some refuse it, others count it as a user's who
    speaks out of turn."""
    if _REFUSES_SYSTEM.search(source):
        return False
    return "raise_exception" not in source or "system" in source
