"""An engine's refusal of what is enforced names what the request called it."""

from __future__ import annotations

import pytest

from lmrun.chat.enforcement import explain
from lmrun.chat.messages import Tool
from lmrun.errors import InvalidParameter

TOOLS = (Tool("get_time"), Tool("get_weather"))


@pytest.mark.parametrize(
    ("param", "explained", "begin"),
    [
        ("structured.arguments_1", "tools", "The tool `get_weather` cannot be enforced: Too big."),
        ("structured.argument_0_3", "tools", "The tool `get_time` cannot be enforced: Too big."),
        ("structured.arguments_9", "tools", "The tools cannot be enforced: Too big."),
        ("structured", "tools", "The tools cannot be enforced: Too big."),
        ("structured.answer", "structured", "Too big."),
        ("draft_model", "draft_model", "Too big."),
    ],
)
def test_a_refusal_names_the_tool_whose_schema_it_is(
    param: str, explained: str, begin: str
) -> None:
    error = explain(InvalidParameter("Too big.", param=param, hint="Less."), TOOLS)
    assert (error.param, error.message, error.hint) == (explained, begin, "Less.")
