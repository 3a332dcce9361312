"""Checks, replies and observations for tests, with what matters to them given."""

from __future__ import annotations

from typing import Any

from lmrun.checks.values import Answer, Call, Observation, Reply
from lmrun.settings.check import Check

FINGERPRINT = "scripted-1-abc"


def check(**fields: Any) -> Check:
    """A check; its fields are those of a profile."""
    prompt = {} if "messages" in fields else {"prompt": "Capital of France?"}
    return Check.model_validate({"model": "assistant", **prompt, **fields})


def expecting(**expectations: Any) -> Check:
    return check(expect=expectations)


def reply(text: str = "The capital is Paris.", **fields: Any) -> Reply:
    """A reply of 11 tokens, 10 a second after the first, which took half a second."""
    parts = {name: fields.pop(name) for name in ("reasoning", "tool_calls") if name in fields}
    answer = Answer(text, fields.pop("finish_reason", "stop"), **parts)
    usual = {"fingerprint": FINGERPRINT, "ttft_s": 0.5, "generation_s": 1.0}
    return Reply(answer, completion_tokens=fields.pop("tokens", 11), **{**usual, **fields})


def call(name: str = "get_date", arguments: str = '{"order": 7, "urgent": true}') -> Call:
    return Call(name, arguments)


def observed(
    alone: Reply | None = None,
    again: Reply | None = None,
    beside_others: Reply | None = None,
    error: str | None = None,
) -> Observation:
    return Observation(1.0, alone, again, beside_others, error)
