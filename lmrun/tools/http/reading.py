"""What a model reads of an answer: its JSON, its text, or why there is none. Pure."""

from __future__ import annotations

import codecs
import json
from http import HTTPStatus
from typing import Any, NoReturn

from lmrun.profile.tooling.templates.result_path import LeadsNowhere, ResultPath
from lmrun.profile.tooling.templates.text import to_text
from lmrun.tools.http.html_text import html_to_text
from lmrun.tools.http.outbound import Answer
from lmrun.tools.output import clean_output
from lmrun.tools.tool import ErrorKind, ToolResult

MAX_QUOTED = 2000
"""Bytes of the body of an answer that is none."""

NOTHING = "Done. The answer is empty."

_TEXT_TYPES = {
    "application/xml",
    "application/yaml",
    "application/x-yaml",
    "application/toml",
    "application/javascript",
    "application/x-ndjson",
    "application/jsonl",
    "application/x-www-form-urlencoded",
    "image/svg+xml",
}
_NO_CHARSETS = {"idna", "punycode", "raw-unicode-escape", "unicode-escape", "utf-7"}
"""Codecs that pages have no use for; some take quadratic time."""


def read_answer(answer: Answer, path: ResultPath | None, max_output: int) -> ToolResult:
    """`max_output`: bytes of its text. Content from elsewhere is not marked as such here."""
    try:
        if not 200 <= answer.status < 300:
            raise _NoResult("failed", _describe_failure(answer, max_output))
        text = _read_json_at(answer, path) if path is not None else _read(answer)
    except _NoResult as failure:
        shown, size = clean_output(failure.text, max_output)
        return ToolResult(shown, error=failure.error, size=size)
    shown, size = clean_output(text, max_output)
    return ToolResult(shown, size=size)


class _NoResult(Exception):
    def __init__(self, error: ErrorKind, text: str) -> None:
        super().__init__(text)
        self.error = error
        self.text = text


def _describe_failure(answer: Answer, max_output: int) -> str:
    try:
        phrase = f" {HTTPStatus(answer.status).phrase}"
    except ValueError:
        phrase = ""
    head = f"The server answered {answer.status}{phrase}."
    location = answer.headers.get("location")
    if 300 <= answer.status < 400 and location is not None:
        return f"{head} It points to {location[:200]!r}."
    body = _as_text(answer) if answer.body else None
    if not body:
        return head
    return f"{head} Its answer begins: {clean_output(body, min(MAX_QUOTED, max_output))[0]}"


def _read(answer: Answer) -> str:
    if not answer.body:
        return NOTHING
    if _is_json(answer.media_type):
        return _write_json(_parse_json(answer), answer)
    text = _as_text(answer)
    if text is None:
        raise _NoResult(
            "failed",
            f"The answer is not text: {answer.media_type or 'of unknown type'}, "
            f"{len(answer.body)} bytes.",
        )
    return text or NOTHING


def _read_json_at(answer: Answer, path: ResultPath) -> str:
    try:
        return _write_json(path.find(_parse_json(answer)), answer)
    except LeadsNowhere as fault:
        raise _NoResult("failed", f"The answer is not as expected: {fault}.") from None


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")


def _parse_json(answer: Answer) -> Any:
    try:
        return json.loads(answer.body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise _no_json(answer) from None


def _write_json(value: Any, answer: Answer) -> str:
    """Just short of what reading refuses, writing may find it nested too deep."""
    try:
        return to_text(value)
    except RecursionError:
        raise _no_json(answer) from None


def _no_json(answer: Answer) -> _NoResult:
    begin = clean_output(answer.body[:200], 200)[0]
    return _NoResult(
        "protocol", f"The answer is not the JSON that it should be. It begins: {begin}"
    )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _as_text(answer: Answer) -> str | None:
    """None when it is none."""
    media_type = answer.media_type
    if media_type == "" or _is_json(media_type):
        try:
            text = answer.body.decode("utf-8")
        except UnicodeDecodeError:
            return None
        return None if "\0" in text else text
    if media_type in ("text/html", "application/xhtml+xml"):
        return html_to_text(_decode(answer))
    if media_type.startswith("text/") or media_type in _TEXT_TYPES or media_type.endswith("+xml"):
        return _decode(answer)
    return None


def _decode(answer: Answer) -> str:
    _, _, parameters = answer.headers.get("content-type", "").partition(";")
    charset = "utf-8"
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip("\"'").lower()
    try:
        if codecs.lookup(charset).name.replace("_", "-") in _NO_CHARSETS:
            charset = "utf-8"
        return answer.body.decode(charset, "replace")
    except (LookupError, ValueError):
        return answer.body.decode("utf-8", "replace")
