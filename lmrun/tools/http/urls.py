"""URLs that somebody else wrote: a server's metadata, a redirect. Pure; it opens nothing and knows
no client."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from lmrun.errors import OutboundRefused
from lmrun.settings.addresses import Reach, parse_host, reach_of

MAX_URL_LENGTH = 8192

_NOT_IN_URLS = re.compile(r"[^\x21-\x7e]|\\")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TO_ESCAPE = re.compile(r"[^A-Za-z0-9._~/:@%&=+,?-]")
_SCHEME = re.compile(r"https?://", re.IGNORECASE)


def safe_to_open(url: str, *, allow_loopback: bool = True, allow_private: bool = False) -> str:
    """`url` written anew, fit to be fetched or shown in a browser: https, or http on this machine.

    Raises OutboundRefused for every other scheme, a user name, a fragment, characters that have no
    place in a URL, hosts that are neither a plain name nor an address as one writes it, and
    addresses that are not public, but for this machine's with `allow_loopback` and this network's
    with `allow_private`. What a shell might read is escaped in path and query. A name's addresses
    are the business of whoever connects to it.
    """
    parts = _split(url)
    host = _host_of(parts, url)
    reach = _reach_of(host, url)
    allowed = {"public": True, "loopback": allow_loopback, "private": allow_private, "none": False}
    if not allowed[reach]:
        raise _refused(url, f"{host} is no public address")
    if parts.scheme == "http" and reach != "loopback":
        raise _refused(url, "http is for this machine alone")
    shown_host = f"[{host}]" if ":" in host else host
    port = "" if parts.port is None else f":{parts.port}"
    query = f"?{_escape(parts.query)}" if parts.query else ""
    return f"{parts.scheme}://{shown_host}{port}{_escape(parts.path or '/')}{query}"


def shown(url: str) -> str:
    """`url` for a message: what it says before its query, and no more of that than helps."""
    plain = _NOT_IN_URLS.sub("\N{REPLACEMENT CHARACTER}", re.split(r"[?#]", url)[0])
    scheme, mark, rest = plain.partition("//")
    authority, slash, path = rest.partition("/")
    text = f"{scheme}{mark}{authority.rpartition('@')[2]}{slash}{path}"
    return text if len(text) <= 200 else f"{text[:200]}…"


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL_LENGTH:
        raise _refused(url, f"it is longer than {MAX_URL_LENGTH} characters")
    if _NOT_IN_URLS.search(url):
        raise _refused(url, "it holds characters that have no place in a URL")
    if _BROKEN_ESCAPE.search(url):
        raise _refused(url, "a `%` in it is followed by no two hexadecimal digits")
    if not _SCHEME.match(url):
        raise _refused(url, "it begins with neither `https://` nor `http://`")
    try:
        parts = urlsplit(url)
        is_port = parts.port is None or parts.port > 0
    except ValueError:
        raise _refused(url, "its host or port cannot be read") from None
    if not is_port or parts.netloc.endswith(":"):
        raise _refused(url, "its port is none")
    if "@" in parts.netloc:
        raise _refused(url, "it holds a user name")
    if "#" in url:
        raise _refused(url, "it holds a fragment")
    return parts


def _host_of(parts: SplitResult, url: str) -> str:
    host = parts.hostname or ""
    if not (":" in host or _NAME.fullmatch(host)) or len(host) > 253:
        raise _refused(url, "its host is neither a name nor an address")
    return host


def _reach_of(host: str, url: str) -> Reach:
    address = parse_host(host)
    if address is None:
        return "loopback" if host.removesuffix(".") == "localhost" else "public"
    is_plain = str(address) == host if address.version == 4 else address.ipv4_mapped is None
    if not is_plain:
        raise _refused(url, f"its host is a way to write {address} that hides it")
    return reach_of(address)


def _escape(text: str) -> str:
    return _TO_ESCAPE.sub(lambda found: f"%{ord(found.group()):02X}", text)


def _refused(url: str, why: str) -> OutboundRefused:
    return OutboundRefused(
        f"The URL {shown(url)!r} may not be used: {why}.",
        hint="It must be an https URL of a public host, or http on this machine.",
    )
