"""The chat template that a profile gives a model instead of its own, as Jinja.

The named ones are written after the formats' own documentation; they are files beside this one.
It renders nothing.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from lmrun.errors import SettingRefused, TemplateFailed
from lmrun.settings.prompt_template import ManualTemplate, PromptTemplate, TemplateName
from lmrun.worker.rendering.client import TemplateRenderer
from lmrun.worker.rendering.exchange import Template

NAMED = Path(__file__).parent / "named"

STOP_STRINGS: dict[TemplateName, tuple[str, ...]] = {
    "alpaca": ("\n### Instruction:",),
    "chatml": ("<|im_end|>",),
    "gemma": ("<end_of_turn>",),
    "llama2": ("[INST]",),
    "llama3": ("<|eot_id|>",),
    "mistral": ("[INST]",),
    "phi4": ("<|im_end|>",),
    "phi4-mini": ("<|end|>",),
    "qwen2.5": ("<|im_end|>",),
    "vicuna": ("\nUSER:",),
}
"""What ends a message in a named format. Where a model has it as a control token, that ends the
answer before; a model that was not trained on the format writes it as text."""


@dataclass(frozen=True, slots=True)
class Override:
    """A template's `source`, and what ends an answer in its conversations."""

    source: str
    stop_strings: tuple[str, ...] = ()


def write_override(template: PromptTemplate) -> Override:
    """What a profile's `prompt_template` means."""
    if template.name is not None:
        source = (NAMED / f"{template.name}.jinja").read_text(encoding="utf-8")
        return Override(source, STOP_STRINGS[template.name])
    if template.manual is not None:
        return Override(_write_manual(template.manual), template.manual.stop_strings)
    return Override(template.jinja or "")


def check_override(override: Override) -> None:
    """Raises SettingRefused, with line and reason, when the source is no template."""
    with contextlib.closing(TemplateRenderer(Template(override.source, "", ""))) as renderer:
        try:
            renderer.check()
        except TemplateFailed as error:
            message = f"prompt_template: {error.message}"
            raise SettingRefused(message, param="prompt_template") from None


def _write_manual(manual: ManualTemplate) -> str:
    before_assistant = _quote(manual.before_assistant)
    return (
        "{%- for message in messages -%}"
        "{%- if message.role == 'system' -%}"
        + _write_turn(manual.before_system, manual.after_system)
        + "{%- elif message.role == 'assistant' -%}"
        + _write_turn(manual.before_assistant, manual.after_assistant)
        + "{%- else -%}"
        + _write_turn(manual.before_user, manual.after_user)
        + "{%- endif -%}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- " + before_assistant + " -}}{%- endif -%}"
    )


def _write_turn(before: str, after: str) -> str:
    return "{{- " + f"{_quote(before)} + message.content + {_quote(after)}" + " -}}"


def _quote(text: str) -> str:
    """`text` as a literal: Jinja reads the escapes that JSON writes."""
    return json.dumps(text, ensure_ascii=False)
