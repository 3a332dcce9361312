"""The smallest bodies that are valid, and what becomes of worse ones."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.api.openai.requests import ChatRequest, CompletionRequest, GenerationRequest
from lmrun.api.validate import validate_request
from lmrun.errors import RequestError

USER = {"role": "user", "content": "hi"}
CHAT: dict[str, Any] = {"model": "m", "messages": [USER]}
COMPLETION: dict[str, Any] = {"model": "m", "prompt": "hi"}
KINDS: list[tuple[type[GenerationRequest], dict[str, Any]]] = [
    (ChatRequest, CHAT),
    (CompletionRequest, COMPLETION),
]


def chat(**parameters: Any) -> ChatRequest:
    return validate_request(ChatRequest, {**CHAT, **parameters})


def completion(**parameters: Any) -> CompletionRequest:
    return validate_request(CompletionRequest, {**COMPLETION, **parameters})


def refusal(kind: type[GenerationRequest], json: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        validate_request(kind, json)
    return caught.value
