"""Questions of servers to a person, and where they are put. It knows nobody to ask."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from mcp_types import (
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitRequestURLParams,
    ElicitResult,
)

from lmrun.errors import McpProtocol, OutboundRefused
from lmrun.tools.http.urls import safe_to_open
from lmrun.tools.mcp.answering.forms import read_form
from lmrun.tools.mcp.answering.questions import Elicit, Elicitation, Elicited
from lmrun.tools.mcp.cleaning import clean, clean_values, has_clean_names
from lmrun.tools.schemas.validation import SchemaUnusable, find_errors

MAX_MESSAGE = 4000
MAX_SCHEMA_BYTES = 16 * 2**10
ANSWER_TIMEOUT_S = 300.0

log = logging.getLogger("lmrun.tools.mcp")


def _no_runs() -> frozenset[str]:
    return frozenset()


class Elicitor:
    """Puts the questions of one server, one at a time. `elicit` None: there is nobody to ask.
    `find_runs`: those with a call under way at the server."""

    def __init__(
        self,
        server: str,
        elicit: Elicit | None,
        timeout_s: float = ANSWER_TIMEOUT_S,
        find_runs: Callable[[], frozenset[str]] = _no_runs,
    ) -> None:
        self._server = server
        self._elicit = elicit
        self._timeout_s = timeout_s
        self._find_runs = find_runs
        self._turn = asyncio.Lock()

    async def ask(self, params: ElicitRequestParams) -> ElicitResult:
        """What somebody says. Declined where nobody can be asked, or may not be asked this;
        cancelled where no good answer comes in time."""
        question = self._read(params)
        if question is None or self._elicit is None:
            return ElicitResult(action="decline")
        async with self._turn:
            question = msgspec.structs.replace(question, runs=self._find_runs())
            try:
                async with asyncio.timeout(self._timeout_s):
                    answer = await self._elicit(question)
            except TimeoutError:
                return ElicitResult(action="cancel")
        return self._make_result(question, answer)

    def _read(self, params: ElicitRequestParams) -> Elicitation | None:
        """The question as somebody may read it; None: it may not be put."""
        message = clean(params.message[:MAX_MESSAGE])
        match params:
            case ElicitRequestURLParams(url=url):
                try:
                    return Elicitation(self._server, message, url=safe_to_open(url))
                except OutboundRefused as refused:
                    log.warning("MCP server %s asks somebody to open: %s", self._server, refused)
                    return None
            case ElicitRequestFormParams(requested_schema=requested):
                try:
                    return Elicitation(self._server, message, schema=_read_schema(requested))
                except McpProtocol as error:
                    log.warning("MCP server %s asks somebody: %s", self._server, error)
                    return None

    def _make_result(self, question: Elicitation, answer: Elicited) -> ElicitResult:
        if answer.action != "accept" or question.schema is None:
            return ElicitResult(action=answer.action)
        content = dict(answer.content or {})
        try:
            error = next(find_errors(content, question.schema), None)
        except SchemaUnusable:
            return ElicitResult(action="decline")
        if error is not None:
            log.warning(
                "The answer to MCP server %s does not fit its question: %s",
                self._server,
                error.message,
            )
            return ElicitResult(action="cancel")
        return ElicitResult(action="accept", content=content)


def _read_schema(requested: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of the answer, without what nobody would see. Raises McpProtocol for what nobody
    can answer."""
    schema: dict[str, Any] = clean_values(dict(requested))
    if len(msgspec.json.encode(schema)) > MAX_SCHEMA_BYTES:
        raise McpProtocol(f"The form has more than {MAX_SCHEMA_BYTES // 2**10} KiB.")
    if not has_clean_names(schema):
        raise McpProtocol("Fields of the form have hidden characters in their names.")
    read_form(schema)
    return schema
