"""What becomes of a stored response: read, listed, deleted, and not cancelled.

It knows no generation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.types import ASGIApp

from lmrun.api.responses.answers.bodies import Deleted, ItemList
from lmrun.api.responses.requests.bodies import INCLUDABLE
from lmrun.api.responses.turns import KIND, JsonItem, not_found, read_items, read_response
from lmrun.api.routes import Call, Handler
from lmrun.api.sse import JsonAnswer
from lmrun.errors import InvalidParameter, RequestError, UnsupportedParameter
from lmrun.store.conversations import Conversations

MAX_PAGE = 100
DEFAULT_PAGE = 20

READ_QUERY = ("include", "include[]", "include_obfuscation", "starting_after", "stream")
LIST_QUERY = ("after", "include", "include[]", "limit", "order")


def make_get_handler(conversations: Conversations) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        _check_include(call.query)
        for name in ("stream", "include_obfuscation"):
            if call.query.get(name, "false") != "false":
                raise UnsupportedParameter(
                    f"`{name}`: not supported yet; only false is: a stored response is complete.",
                    param=name,
                )
        if "starting_after" in call.query:
            raise InvalidParameter(
                "`starting_after` needs `stream`, which is not supported yet.",
                param="starting_after",
            )
        return JsonAnswer(await asyncio.to_thread(read_response, conversations, call.path["id"]))

    return answer


def make_delete_handler(conversations: Conversations) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        id = call.path["id"]
        if not await asyncio.to_thread(conversations.delete, KIND, id):
            raise not_found(id)
        return JsonAnswer(Deleted(id))

    return answer


def make_cancel_handler(conversations: Conversations) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        await asyncio.to_thread(read_response, conversations, call.path["id"])
        raise RequestError(
            "Cannot cancel a synchronous response.",
            hint="It is complete. To cancel one that is not, close its connection.",
        )

    return answer


def make_items_handler(conversations: Conversations) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        _check_include(call.query)
        limit, is_newest_first = _parse_limit(call.query), _parse_order(call.query)
        items = await asyncio.to_thread(read_items, conversations, call.path["id"])
        if is_newest_first:
            items.reverse()
        return JsonAnswer(make_page(items, call.query.get("after"), limit))

    return answer


def make_page(items: list[JsonItem], after: str | None, limit: int) -> ItemList:
    """The items behind the one called `after`. Raises InvalidParameter when there is none."""
    begin = 0
    if after is not None:
        found = (n + 1 for n, item in enumerate(items) if item["id"] == after)
        begin = next(found, -1)
        if begin < 0:
            raise InvalidParameter(f"`after`: there is no item {after[:256]!r}.", param="after")
    page = items[begin : begin + limit]
    first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    return ItemList(page, first, last, begin + limit < len(items))


def _check_include(query: Mapping[str, str]) -> None:
    """What may be included always is, as far as it was asked for when it was made."""
    for name in ("include", "include[]"):
        for wanted in query.get(name, "").split(","):
            if wanted and wanted not in INCLUDABLE:
                raise InvalidParameter(
                    f"`include`: {wanted[:80]!r} is none of {', '.join(INCLUDABLE)}.",
                    param="include",
                )


def _parse_limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", str(DEFAULT_PAGE))
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidParameter(
            f"`limit`: must be a whole number from 1 to {MAX_PAGE}, got {text[:40]!r}.",
            param="limit",
        )
    return limit


def _parse_order(query: Mapping[str, str]) -> bool:
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidParameter(
            f"`order`: must be 'asc' or 'desc', got {order[:40]!r}.", param="order"
        )
    return order == "desc"
