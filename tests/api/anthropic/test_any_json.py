"""Whatever JSON comes as whatever parameter: a typed request, or an error that says why not."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.api.anthropic.convert import to_prediction, to_request
from lmrun.api.anthropic.requests import MessagesRequest
from lmrun.api.validate import validate_request
from lmrun.errors import BodyTooLarge, RequestError
from tests.api.anthropic.bodies import BODY, TOOL, USER

NUMBERS = st.integers() | st.sampled_from([2**31, 2**63, 2**64, 10**30, -(10**30)]) | st.floats()
WORDS = st.sampled_from(
    [
        *("type", "text", "role", "user", "assistant", "image", "source", "base64", "data"),
        *("tool_use", "tool_result", "id", "input", "name", "content", "thinking", "document"),
        *("url", "title"),
    ]
)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=20) | WORDS
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | WORDS, inner, max_size=4)
    ),
    max_leaves=10,
)


def is_answered(body: Any) -> bool:
    """True unless something else than an error of the tree comes out."""
    try:
        request = validate_request(MessagesRequest, body)
        to_request(request)
        to_prediction(request)
    except (RequestError, BodyTooLarge) as error:
        return 0 < len(str(error)) < 3000
    return True


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(sorted(MessagesRequest.model_fields)), value=JSON)
def test_any_value_of_a_parameter(name: str, value: Any) -> None:
    assert is_answered({**BODY, name: value})


@settings(max_examples=300, deadline=None)
@given(role=st.sampled_from(["user", "assistant", "system"]), blocks=st.lists(JSON, max_size=3))
def test_any_value_as_blocks(role: str, blocks: Any) -> None:
    assert is_answered({**BODY, "messages": [USER, {"role": role, "content": blocks}, USER]})


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(["text", "image", "document", "tool_result", "tool_use", "thinking"]),
    name=WORDS,
    value=JSON,
)
def test_any_value_in_a_block(kind: str, name: str, value: Any) -> None:
    block = {"type": kind, "text": "a", "thinking": "b", "id": "c", "name": "d", "input": {}}
    for role in ("user", "assistant"):
        content = [{**block, name: value}]
        assert is_answered({**BODY, "messages": [USER, {"role": role, "content": content}, USER]})


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from([*TOOL, "type", "strict", "input_examples"]), value=JSON)
def test_any_value_in_a_tool(name: str, value: Any) -> None:
    assert is_answered({**BODY, "tools": [{**TOOL, name: value}]})


@settings(max_examples=100, deadline=None)
@given(body=JSON)
def test_any_body(body: Any) -> None:
    assert is_answered(body)
