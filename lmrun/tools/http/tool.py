"""A tool that is a request over HTTP: a template in the profile, filled with a call's arguments."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

import httpx2
import msgspec

from lmrun.errors import OutboundFailed, OutboundRefused, ToolInvalid
from lmrun.profile.tooling.tools import HttpRequest, ToolConfig
from lmrun.tools.declared import check_parameters, make_declared_spec
from lmrun.tools.http.connecting import Resolve, resolve
from lmrun.tools.http.outbound import OutboundClient
from lmrun.tools.http.policy import DEFAULT_PORTS, MAX_BYTES, OutboundPolicy
from lmrun.tools.http.reading import read_answer
from lmrun.tools.http.result_path import ResultPath
from lmrun.tools.http.template import (
    ArgumentRefused,
    BodyTemplate,
    HeadersTemplate,
    UrlTemplate,
)
from lmrun.tools.tool import ErrorKind, OnProgress, ToolResult, ToolSpec

SHORT = 64 * 2**10
"""Bytes that are read at once; to read more might hold up everybody else for too long."""

_FOR_PROCESSES = {"env", "cwd", "limits"}


class HttpTool:
    """`key`: what the profile calls it. Raises ToolInvalid for a declaration that no call could be
    right with, and OutboundRefused for a URL that may not be reached. A call opens a connection of
    its own and leaves none."""

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
        for name in sorted(_FOR_PROCESSES & config.model_fields_set):
            raise ToolInvalid(f"`{name}` is for tools that run a process.", hint="Leave it out.")
        self._method = request.method
        self._url = UrlTemplate.parse(request.url)
        self._headers = HeadersTemplate.parse(request.headers)
        self._body = None if request.body is None else BodyTemplate.parse(request.body)
        self._result = None if request.result is None else ResultPath.parse(request.result)
        self._max_output = config.max_output
        self._check_names(config)
        self._policy = _make_policy(self._url, request, config)
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

    def _check_names(self, config: ToolConfig) -> None:
        body = self._body.names if self._body is not None else frozenset()
        used = self._url.names | self._headers.names | body
        check_parameters(config, used)
        for name in sorted(self._url.names_in_path & set(config.optional)):
            raise ToolInvalid(
                f"The parameter {name!r} is a piece of the path, and cannot be left out.",
                hint="Take it out of `optional`.",
            )


def _make_policy(url: UrlTemplate, request: HttpRequest, config: ToolConfig) -> OutboundPolicy:
    """Without `hosts` it is the host in the URL, at its port."""
    try:
        base = httpx2.URL(f"{url.scheme}://{url.authority}/")
    except httpx2.InvalidURL as error:
        raise ToolInvalid(f"`url` cannot be read: {error}") from None
    host, port = base.raw_host.decode("ascii"), base.port or DEFAULT_PORTS[url.scheme]
    own = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    policy = OutboundPolicy(
        hosts=request.hosts or (own,),
        allow_private=request.private,
        allow_loopback=request.private,
        max_bytes=max(MAX_BYTES, config.max_output),
        timeout_s=config.timeout,
        allow_plain=url.scheme == "http",
    )
    policy.check_url(base)
    return policy
