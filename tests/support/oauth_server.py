"""An MCP server that asks for OAuth, and its authorization server, on one port of this machine.

Real HTTP. It does what the specifications ask for, unless a test has it say something else, and
keeps every request.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

TOOL = {
    "name": "find",
    "description": "Find an order.",
    "inputSchema": {"type": "object", "properties": {"id": {"type": "string"}}},
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `fields`: of its query, form or JSON body; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    fields: dict[str, Any]


@dataclass
class FakeOAuth:
    """`resource`, `metadata`: what is said instead of what is right, by field; None leaves it out.
    `challenge`: the header that comes with a 401. `redirects`: answers 302, by path.
    `iss`, `state`: what comes back with a browser instead. `refusals`: statuses, by path.
    """

    base: str = ""
    resource: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    challenge: str | None = None
    redirects: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    registration: dict[str, Any] = field(default_factory=dict)
    expires_in: int | None = 3600
    iss: str | None = None
    state: str | None = None
    denies: bool = False
    is_openid: bool = False
    """Its metadata is where OpenID Connect has it, and nowhere else."""
    rotates: bool = True
    on_token: Callable[[], object] = lambda: None
    """Called before a token is given."""
    asked: list[Asked] = field(default_factory=list)
    good: set[str] = field(default_factory=set)
    """Access tokens that the MCP server takes."""
    refresh: set[str] = field(default_factory=set)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{self.base}/mcp"

    def requests(self, path: str) -> list[Asked]:
        return [it for it in self.asked if it.path == path]

    @property
    def metadata_path(self) -> str:
        name = "openid-configuration" if self.is_openid else "oauth-authorization-server"
        return f"/.well-known/{name}"

    def make_resource(self) -> dict[str, Any]:
        right = {
            "resource": self.url,
            "authorization_servers": [self.base],
            "scopes_supported": ["orders:read"],
        }
        return _without_none({**right, **self.resource})

    def make_metadata(self) -> dict[str, Any]:
        right = {
            "issuer": self.base,
            "authorization_endpoint": f"{self.base}/authorize",
            "token_endpoint": f"{self.base}/token",
            "registration_endpoint": f"{self.base}/register",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        return _without_none({**right, **self.metadata})

    def authorize(self, fields: dict[str, str]) -> str:
        """Where the browser is sent back to."""
        code = secrets.token_urlsafe(8)
        self.codes[code] = fields
        back = {"state": self.state or fields["state"], "iss": self.iss or self.base}
        back |= {"error": "access_denied"} if self.denies else {"code": code}
        return f"{fields['redirect_uri']}?{urlencode(back)}"

    def give_token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Status and body, as RFC 6749, 7636 and 8707 have it."""
        if form.get("grant_type") == "refresh_token":
            if form.get("refresh_token") not in self.refresh:
                return 400, {"error": "invalid_grant", "error_description": "it was revoked"}
            if self.rotates:
                self.refresh.discard(form["refresh_token"])
        else:
            asked = self.codes.pop(form.get("code", ""), None)
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
            same = ("redirect_uri", "client_id", "resource")
            if (
                asked is None
                or asked["code_challenge"] != challenge
                or any(asked[name] != form.get(name) for name in same)
            ):
                return 400, {"error": "invalid_grant"}
        return 200, self.make_token()

    def make_token(self) -> dict[str, Any]:
        access, refresh = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        self.good.add(access)
        token: dict[str, Any] = {"access_token": access, "token_type": "bearer"}
        if self.rotates:
            self.refresh.add(refresh)
            token["refresh_token"] = refresh
        return token if self.expires_in is None else {**token, "expires_in": self.expires_in}


def _without_none(value: dict[str, Any]) -> dict[str, Any]:
    return {name: it for name, it in value.items() if it is not None}


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeOAuth

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        fields = dict(parse_qsl(query))
        self._note(path, fields)
        if path == "/authorize":
            self._send(302, {}, Location=self.fake.authorize(fields))
        elif path in self.fake.redirects:
            self._send(302, {}, Location=self.fake.redirects[path])
        elif path == "/.well-known/oauth-protected-resource/mcp":
            self._send(self.fake.refusals.get(path, 200), self.fake.make_resource())
        elif path == self.fake.metadata_path:
            self._send(self.fake.refusals.get(path, 200), self.fake.make_metadata())
        else:
            self._send(404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        is_form = self.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
        fields = dict(parse_qsl(body.decode())) if is_form else json.loads(body)
        self._note(self.path, fields)
        if self.path in self.fake.refusals:
            self._send(self.fake.refusals[self.path], {"error": "temporarily_unavailable"})
        elif self.path == "/register":
            known = {"client_id": "client-1", "issuer": "https://evil.example"}
            self._send(201, {**fields, **known, **self.fake.registration})
        elif self.path == "/token":
            self.fake.on_token()
            self._send(*self.fake.give_token(fields))
        else:
            self._answer_mcp(fields)

    def _answer_mcp(self, message: dict[str, Any]) -> None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.fake.good:
            where = f"{self.fake.base}/.well-known/oauth-protected-resource/mcp"
            challenge = self.fake.challenge or f'Bearer resource_metadata="{where}"'
            self._send(401, {}, **{"WWW-Authenticate": challenge})
            return
        if "id" not in message:
            self._send(202, None)
            return
        result = self._make_result(message)
        body = {"error": {"code": -32601, "message": "unknown"}} if result is None else result
        self._send(200, {"jsonrpc": "2.0", "id": message["id"], **body})

    def _make_result(self, message: dict[str, Any]) -> dict[str, Any] | None:
        params = message.get("params") or {}
        match message["method"]:
            case "initialize":
                return {
                    "result": {
                        "protocolVersion": params["protocolVersion"],
                        "capabilities": {"tools": {}},
                        "serverInfo": {"name": "orders", "version": "1"},
                    }
                }
            case "tools/list":
                return {"result": {"tools": [TOOL]}}
            case "tools/call":
                return {"result": {"content": [{"type": "text", "text": "on its way"}]}}
            case "ping":
                return {"result": {}}
        return None

    def _note(self, path: str, fields: dict[str, Any]) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.fake.asked.append(Asked(self.command, path, headers, fields))

    def _send(self, status: int, value: Any, **headers: str) -> None:
        content = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def playing_oauth() -> Iterator[FakeOAuth]:
    """Both servers, until the block ends."""
    fake = FakeOAuth()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (_Answers,), {"fake": fake}))
    server.daemon_threads = True
    fake.base = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
        assert not thread.is_alive()


def browse(url: str) -> int:
    """What a browser does where the login needs no password: go there, and where it is sent to.
    The status of the last answer."""
    status, location = get(url)
    return status if location is None else get(location)[0]


def get(url: str, **headers: str) -> tuple[int, str | None]:
    """Status and Location of an answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}", headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status, response.headers["Location"]
    finally:
        connection.close()
