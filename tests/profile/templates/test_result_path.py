"""Where a result is in an answer."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.errors import ToolInvalid
from lmrun.profile.tooling.templates.result_path import LeadsNowhere, ResultPath

DATA = {"data": {"items": [{"name": "a"}, {"name": "b", "n-1": 2}], "none": None, "": 0}, "x": "t"}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("x", "t"),
        ("data.none", None),
        ("data.items[0].name", "a"),
        ("data.items[-1].name", "b"),
        ("data.items[1].n-1", 2),
        ("data.items", DATA["data"]["items"]),  # type: ignore[index]
    ],
)
def test_it_is_found(path: str, found: Any) -> None:
    assert ResultPath.parse(path).find(DATA) == found


def test_a_list_may_come_first() -> None:
    assert ResultPath.parse("[1][0]").find([[1], [2]]) == 2
    assert ResultPath.parse("[0].a").find([{"a": 3}]) == 3


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("y", "the answer has no 'y'; it has 'data', 'x'"),
        ("data.items[2]", "`data.items` has 2 items, so no [2]"),
        ("data.items[-3]", "`data.items` has 2 items, so no [-3]"),
        ("data.items.name", "`data.items` is a list, not an object"),
        ("data[0]", "`data` is an object, not a list"),
        ("x.y", "`x` is text, not an object"),
        ("data.none.y", "`data.none` is null, not an object"),
        ("data.items[0].name.z", "`data.items[0].name` is text, not an object"),
        ("[0]", "the answer is an object, not a list"),
    ],
)
def test_where_it_leads_nowhere_is_said(path: str, message: str) -> None:
    with pytest.raises(LeadsNowhere) as caught:
        ResultPath.parse(path).find(DATA)
    assert str(caught.value) == message


def test_many_names_are_not_all_said() -> None:
    with pytest.raises(LeadsNowhere, match=r"'n19' and 980 more$"):
        ResultPath.parse("x").find({f"n{number}": 0 for number in range(1000)})


@pytest.mark.parametrize(
    "path",
    ["", ".", ".a", "a.", "a..b", "a[", "a[]", "a[x]", "a[0", "a]0[", "[0]a", "a[0].", "$.a b["],
)
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ToolInvalid, match="`result`"):
        ResultPath.parse(path)
