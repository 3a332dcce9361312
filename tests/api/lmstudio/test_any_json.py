"""Whatever JSON comes in a body: a typed request, or an error that says why not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from lmrun.api.lmstudio.v1.convert import to_prediction, to_request
from lmrun.api.lmstudio.v1.requests import (
    ChatRequestV1,
    DownloadRequest,
    LoadRequest,
    UnloadRequest,
)
from lmrun.api.lmstudio.v1.turns import History
from lmrun.api.validate import validate_request
from lmrun.errors import RequestError

BASES: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (ChatRequestV1, {"model": "m", "input": "hi"}),
    (LoadRequest, {"model": "m"}),
    (UnloadRequest, {"instance_id": "m"}),
    (DownloadRequest, {"model": "m"}),
]
NUMBERS = st.integers() | st.sampled_from([2**31, 2**64, -(10**30)]) | st.floats()
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)
ITEMS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "message", "image", "audio"])},
        optional={"content": JSON, "data_url": JSON | st.just("data:image/png;base64,AAAA")},
    ),
    max_size=3,
)


def is_answered(kind: type[BaseModel], body: Any) -> bool:
    """True unless something else than an error of the tree comes out."""
    try:
        request = validate_request(kind, body)
        if isinstance(request, ChatRequestV1):
            to_prediction(request)
            to_request(request, History())
    except RequestError as error:
        return 0 < len(str(error)) < 2000
    return True


@pytest.mark.parametrize(("kind", "base"), BASES)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_value_of_a_field(
    kind: type[BaseModel], base: dict[str, Any], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(kind.model_fields)))
    assert is_answered(kind, {**base, name: data.draw(JSON)})


@settings(max_examples=200, deadline=None)
@given(items=ITEMS)
def test_any_items(items: list[dict[str, Any]]) -> None:
    assert is_answered(ChatRequestV1, {"model": "m", "input": items})


@settings(max_examples=100, deadline=None)
@given(body=JSON)
def test_any_body(body: Any) -> None:
    assert is_answered(ChatRequestV1, body)
