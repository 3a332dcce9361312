"""Whatever JSON comes as whatever parameter: a typed request, or an error that says why not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.api.openai.chat_messages import ChatMessage
from lmrun.api.openai.convert import to_prediction
from lmrun.api.openai.requests import ChatRequest, GenerationRequest
from lmrun.api.validate import validate_request
from lmrun.errors import RequestError
from tests.api.openai.bodies import CHAT, KINDS, USER

NUMBERS = st.integers() | st.sampled_from([2**31, 2**63, 2**64, 10**30, -(10**30)]) | st.floats()
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=20)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)


def is_answered(kind: type[GenerationRequest], body: Any) -> bool:
    """True unless something else than an error of the tree comes out."""
    try:
        to_prediction(validate_request(kind, body))
    except RequestError as error:
        return 0 < len(str(error)) < 2000
    return True


@pytest.mark.parametrize(("kind", "base"), KINDS)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_value_of_a_parameter(
    kind: type[GenerationRequest], base: dict[str, Any], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(kind.model_fields)))
    assert is_answered(kind, {**base, name: data.draw(JSON)})


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(sorted(ChatMessage.model_fields)), value=JSON)
def test_any_value_in_a_message(name: str, value: Any) -> None:
    assert is_answered(ChatRequest, {**CHAT, "messages": [{**USER, name: value}]})


@settings(max_examples=100, deadline=None)
@given(body=JSON)
def test_any_body(body: Any) -> None:
    assert is_answered(ChatRequest, body)
