"""A tool that is a request over HTTP: a template in the profile, filled with a call's arguments."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from lmrun.errors import OutboundFailed, OutboundRefused, ToolInvalid
from lmrun.profile.tooling.templates.reach import make_policy
from lmrun.profile.tooling.templates.request import BodyTemplate, HeadersTemplate, UrlTemplate
from lmrun.profile.tooling.templates.result_path import ResultPath
from lmrun.profile.tooling.templates.text import ArgumentRefused
from lmrun.profile.tooling.tools import ToolConfig
from lmrun.settings.outbound import MAX_BYTES
from lmrun.tools.declared import make_declared_spec
from lmrun.tools.http.connecting import Resolve, resolve
from lmrun.tools.http.outbound import OutboundClient
from lmrun.tools.http.reading import read_answer
from lmrun.tools.tool import ErrorKind, OnProgress, ToolResult, ToolSpec

SHORT = 64 * 2**10
"""Bytes that are read at once; to read more might hold up everybody else for too long."""


class HttpTool:
    """`key`: what the profile calls it. Raises ToolInvalid for a template that no profile may have,
    and OutboundRefused for a URL that may not be reached; that the rest fits it is the profile's
    business. A call opens a connection of its own and leaves none."""

    def __init__(
        self,
        key: str,
        config: ToolConfig,
        *,
        resolve: Resolve = resolve,
        certificates: ssl.SSLContext | None = None,
    ) -> None:
        request = config.http
        if request is None:
            raise ToolInvalid(f"The tool {key!r} is no request over HTTP.")
        self._method = request.method
        self._url = UrlTemplate.parse(request.url)
        self._headers = HeadersTemplate.parse(request.headers)
        self._body = None if request.body is None else BodyTemplate.parse(request.body)
        self._result = None if request.result is None else ResultPath.parse(request.result)
        self._max_output = config.max_output
        self._policy = replace(
            make_policy(self._url, request.hosts, is_private=request.private),
            max_bytes=max(MAX_BYTES, config.max_output),
            timeout_s=config.timeout,
        )
        self._resolve = resolve
        self._certificates = certificates
        self._spec = make_declared_spec(key, config)

    @property
    def spec(self) -> ToolSpec:
        return self._spec

    async def call(self, arguments: Mapping[str, Any], on_progress: OnProgress) -> ToolResult:
        """Send the request. Nothing is known of its progress."""
        try:
            result = await self._call(arguments)
        except ArgumentRefused as error:
            return ToolResult(str(error), error="invalid_arguments")
        except OutboundRefused as error:
            return ToolResult(error.message, error="unreachable")
        except OutboundFailed as error:
            kind: ErrorKind = error.reason
            return ToolResult(error.message, error=kind)
        return msgspec.structs.replace(result, is_untrusted=self._spec.is_untrusted)

    async def _call(self, arguments: Mapping[str, Any]) -> ToolResult:
        url = self._url.fill(arguments)
        headers = self._headers.fill(arguments)
        content = None if self._body is None else self._body.fill(arguments)
        if content and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/json"
        async with OutboundClient(
            self._policy, resolve=self._resolve, certificates=self._certificates
        ) as client:
            answer = await client.send(
                self._method, url, headers=headers, content=content, follow=True
            )
        if len(answer.body) <= SHORT:
            return read_answer(answer, self._result, self._max_output)
        return await asyncio.to_thread(read_answer, answer, self._result, self._max_output)
