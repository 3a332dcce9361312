"""What a request's body may be declared as: JSON, in UTF-8, as it is.

Pure decisions on headers; it reads no body.
"""

from __future__ import annotations

import re
from typing import get_args

from lmrun.api.door import READING, Head
from lmrun.api.errors import MediaTypeRefused
from lmrun.api.routes import Method

_METHODS = frozenset(get_args(Method))
_PARAMETER = re.compile(r';\s*(?P<name>[^\s=;]+)\s*=\s*(?:"(?P<quoted>[^"]*)"|(?P<plain>[^;]*))')


def check_media_type(head: Head) -> None:
    """Raises MediaTypeRefused for a body that is not declared as plain JSON.

    A page of another site cannot send that type without asking first. A method that no route has
    is refused by every path, with a body or without.
    """
    if head.method in READING or head.method == "DELETE" or head.method not in _METHODS:
        return
    _check_type(head)
    _check_coding(head)


def _check_type(head: Head) -> None:
    values = head.values("content-type")
    media_type = values[0].partition(";")[0].strip().lower() if len(values) == 1 else ""
    if media_type != "application/json":
        raise MediaTypeRefused("The body must come with `Content-Type: application/json`.")
    for charset in find_charsets(values[0]):
        if charset.lower() != "utf-8":
            raise MediaTypeRefused(
                f"The body's charset {charset[:40]!r} is not read here.",
                hint="Send UTF-8, with `charset=utf-8` or without a charset.",
            )


def find_charsets(content_type: str) -> list[str]:
    """The `charset` parameters of a Content-Type, without their quotes."""
    return [
        (match["plain"] if match["quoted"] is None else match["quoted"]).strip()
        for match in _PARAMETER.finditer(content_type)
        if match["name"].lower() == "charset"
    ]


def _check_coding(head: Head) -> None:
    codings = ",".join(head.values("content-encoding")).split(",")
    for coding in filter(None, map(str.strip, codings)):
        if coding.lower() != "identity":
            raise MediaTypeRefused(
                f"A body with Content-Encoding {coding[:40]!r} is not decoded here.",
                hint="Send it as it is, without that header.",
            )
