"""The smallest bodies that are valid, and what becomes of worse ones."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.api.anthropic.convert import to_prediction, to_request
from lmrun.api.anthropic.requests import MessagesRequest
from lmrun.api.validate import validate_request
from lmrun.chat.request import Request
from lmrun.errors import RequestError

USER = {"role": "user", "content": "hi"}
BODY: dict[str, Any] = {"model": "m", "max_tokens": 5, "messages": [USER]}
TOOL: dict[str, Any] = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def parse(**parameters: Any) -> MessagesRequest:
    return validate_request(MessagesRequest, {**BODY, **parameters})


def convert(**parameters: Any) -> Request:
    """The prompt of a request with these parameters."""
    return to_request(parse(**parameters)).prompt


def refusal(**parameters: Any) -> RequestError:
    """What parsing or conversion says against these parameters."""
    with pytest.raises(RequestError) as caught:
        request = parse(**parameters)
        to_request(request)
        to_prediction(request)
    return caught.value
