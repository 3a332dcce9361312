"""What a model reads of an answer: its JSON, its text, or why there is none. Pure."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from http import HTTPStatus
from typing import Any, NoReturn

from lmrun.tools.http.outbound import Answer
from lmrun.tools.http.result_path import LeadsNowhere, ResultPath
from lmrun.tools.http.template import to_text
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
_SILENT = {"script", "style", "template", "noscript", "head", "svg"}
_BLOCKS = {
    *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption"),
    *("footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav"),
    *("ol", "p", "pre", "section", "table", "td", "th", "tr", "ul"),
}


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
        return to_text(_parse_json(answer))
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
        return to_text(path.find(_parse_json(answer)))
    except LeadsNowhere as fault:
        raise _NoResult("failed", f"The answer is not as expected: {fault}.") from None


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")


def _parse_json(answer: Answer) -> Any:
    try:
        return json.loads(answer.body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        begin = clean_output(answer.body[:200], 200)[0]
        raise _NoResult(
            "protocol", f"The answer is not the JSON that it should be. It begins: {begin}"
        ) from None


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
        return _html_to_text(_decode(answer))
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
        return answer.body.decode(charset, "replace")
    except (LookupError, ValueError):
        return answer.body.decode("utf-8", "replace")


class _Page(HTMLParser):
    """What a page says, one block a line."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in _SILENT
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._silent = max(0, self._silent - (tag in _SILENT))
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.pieces.append(data)


def _html_to_text(html: str) -> str:
    page = _Page()
    page.feed(html)
    page.close()
    lines = (" ".join(line.split()) for line in "".join(page.pieces).split("\n"))
    return "\n".join(line for line in lines if line)
