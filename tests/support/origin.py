"""A real HTTP server in a thread that answers as a test says, and remembers what it was asked."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lmrun.settings.addresses import Address


@dataclass(frozen=True)
class Asked:
    """A request as it came. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Exchange(BaseHTTPRequestHandler):
    """One request, for whoever answers it."""

    protocol_version = "HTTP/1.1"
    server: _Server
    body: bytes

    def say(
        self, status: int = 200, body: bytes = b"", /, *, media_type: str = "", **headers: str
    ) -> None:
        """A whole answer. `headers`: their names with `_` for `-`."""
        self.begin(status, media_type=media_type, content_length=str(len(body)), **headers)
        self.wfile.write(body)

    def begin(self, status: int = 200, /, *, media_type: str = "", **headers: str) -> None:
        """Status and headers; the body is up to the caller, and ends with the connection unless
        `content_length` is given."""
        self.send_response(status)
        if media_type:
            self.send_header("Content-Type", media_type)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "content_length" not in headers:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()

    def _answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.origin.asked.append(Asked(self.command, self.path, headers, self.body))
        try:
            self.server.origin.answer(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what was asked is in `asked`."""


Answer = Callable[[Exchange], None]


@dataclass
class Origin:
    """Where a server answers. `stop` is set when the test is over."""

    answer: Answer
    scheme: str = "http"
    host: str = "127.0.0.1"
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    names: list[str | None] = field(default_factory=list)
    """Whom clients wanted to speak to, by TLS."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def last(self) -> Asked:
        return self.asked[-1]


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, origin: Origin, certificates: ssl.SSLContext | None) -> None:
        super().__init__((origin.host, 0), Exchange)
        self.origin = origin
        self._certificates = certificates

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(20)
        if self._certificates is not None:
            try:
                request = self._certificates.wrap_socket(request, server_side=True)
            except OSError:
                return
        try:
            super().finish_request(request, client_address)
        finally:
            request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients leave in the middle, which is what many tests are about."""


@contextmanager
def origin(
    answer: Answer | None = None,
    *,
    certificates: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> Iterator[Origin]:
    """A server that answers with `answer`, `ok` by default."""
    it = Origin(answer or (lambda exchange: exchange.say(200, b"ok", media_type="text/plain")))
    it.host = host
    if certificates is not None:
        it.scheme = "https"
        certificates.sni_callback = lambda sock, name, context: it.names.append(name)
    server = _Server(it, certificates)
    it.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield it
    finally:
        it.stop.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


class Authority:
    """Certificates that only those trust who are given `client`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        self._certificate = (
            self._begin(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.client = ssl.create_default_context(
            cadata=self._certificate.public_bytes(serialization.Encoding.PEM).decode()
        )

    def server(self, *names: str) -> ssl.SSLContext:
        """What a server shows that is called `names`, or has these addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        certificate = (
            self._begin(subject, key)
            .add_extension(x509.SubjectAlternativeName([_to_name(it) for it in names]), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False
            )
            .sign(self._key, hashes.SHA256())
        )
        file = self._folder / f"{names[0]}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _begin(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> Any:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
        )


def _to_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Resolver:
    """Answers with one list of addresses after another, the last one again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = answers
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        answer = self._answers[min(len(self.asked), len(self._answers) - 1)]
        self.asked.append(host)
        return [ipaddress.ip_address(it) for it in answer]
