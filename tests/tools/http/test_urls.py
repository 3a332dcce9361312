"""URLs that servers name (RELIABILITY T1): opened only when there is nothing odd about them."""

from __future__ import annotations

import re
import sys

import pytest

from lmrun.errors import OutboundRefused
from lmrun.tools.http.urls import safe_to_open, shown

GOOD = {
    "https://auth.example.com/authorize": "https://auth.example.com/authorize",
    "https://auth.example.com": "https://auth.example.com/",
    "HTTPS://Auth.Example.COM:8443/A?b=C": "https://auth.example.com:8443/A?b=C",
    "https://a.example/?state=a%2Fb&x=1": "https://a.example/?state=a%2Fb&x=1",
    "https://a.example/$(touch%20x)`y`;z|w": "https://a.example/%24%28touch%20x%29%60y%60%3Bz%7Cw",
    "https://a.example/?q='\"<>": "https://a.example/?q=%27%22%3C%3E",
    "http://localhost:3334/callback": "http://localhost:3334/callback",
    "http://127.0.0.1:1/": "http://127.0.0.1:1/",
    "http://[::1]:8080/x": "http://[::1]:8080/x",
    "https://8.8.8.8/": "https://8.8.8.8/",
    "https://[2606:4700::1111]/": "https://[2606:4700::1111]/",
    "https://xn--bcher-kva.example/": "https://xn--bcher-kva.example/",
}


@pytest.mark.parametrize(("url", "written"), GOOD.items())
def test_a_good_url_is_written_anew(url: str, written: str) -> None:
    assert safe_to_open(url) == written
    assert safe_to_open(written) == written
    assert re.fullmatch(r"[A-Za-z0-9._~/:@%&=+,?\[\]-]+", written)


BAD = [
    "file:/c:/windows/system32/calc.exe",
    "file:///etc/passwd",
    "http://a$(calc)",
    "https://a$(calc)/",
    "https://$(calc).example/",
    "https://a`id`.example/",
    "https://a;id/",
    "https://a|id/",
    "https://a&id/",
    "https://a'b/",
    "--config=x",
    "-oProxyCommand=x",
    "--upload-pack=touch",
    "https://-oProxyCommand=x/",
    "https://-x.example/",
    "javascript:alert(1)",
    "JaVaScRiPt://auth.example.com/%0aalert(1)",
    "data:text/html,x",
    "vscode://x/y",
    "ms-msdt:/id",
    "ftp://a.example/",
    "ws://a.example/",
    "//a.example/",
    "/authorize",
    "a.example/authorize",
    "https:a.example",
    "https:/a.example",
    "https:///a.example",
    "https://",
    "",
    " https://a.example/",
    "https://a.example/\n",
    "https://a.example/x y",
    "https://a.example/\tx",
    "https://a.example/\x00",
    "https://a.example\\@evil.example/",
    "https://a.example/\N{RIGHT-TO-LEFT OVERRIDE}",
    "https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/",
    "https://user@a.example/",
    "https://user:password@a.example/",
    "https://a.example@evil.example/",
    "https://a.example:0/",
    "https://a.example:65536/",
    "https://a.example:/",
    "https://a.example:x/",
    "https://a.example/#fragment",
    "https://a.example/%zz",
    "https://a.example/%",
    "https://exa%6dple.com/",
    "http://auth.example.com/",
    "http://localhost.evil.example/",
    "http://8.8.8.8/",
    "http://0.0.0.0/",
    "https://0.0.0.0/",
    "http://[::]/",
    "http://169.254.169.254/latest/meta-data/",
    "https://169.254.169.254/",
    "https://10.0.0.1/",
    "https://192.168.0.1/",
    "https://[fd00::1]/",
    "http://[::ffff:127.0.0.1]/",
    "https://[::ffff:10.0.0.1]/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "https://[64:ff9b::7f00:1]/",
    "https://[fe80::1%25eth0]/",
    "https://[::1",
    "https://256.1.1.1/",
    "https://a..example/",
    "https://" + "a" * 64 + ".example/",
    "https://a.example/" + "x" * 10_000,
]


@pytest.mark.parametrize("url", BAD, ids=lambda url: repr(url[:40]))
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(OutboundRefused) as caught:
        safe_to_open(url)
    assert "\n" not in str(caught.value) and "\x00" not in str(caught.value)


def test_this_machine_and_this_network_only_where_they_are_allowed() -> None:
    assert safe_to_open("https://10.0.0.1/x", allow_private=True) == "https://10.0.0.1/x"
    for url in ("http://localhost/", "https://localhost./", "http://127.0.0.1/", "https://[::1]/"):
        safe_to_open(url)
        with pytest.raises(OutboundRefused):
            safe_to_open(url, allow_loopback=False)
    with pytest.raises(OutboundRefused):
        safe_to_open("http://10.0.0.1/x", allow_private=True)
    with pytest.raises(OutboundRefused):
        safe_to_open("https://169.254.169.254/", allow_private=True, allow_loopback=True)


def test_judging_starts_no_process_and_opens_no_connection() -> None:
    events: list[str] = []
    is_on = True

    def note(event: str, args: tuple[object, ...]) -> None:
        if is_on and event.startswith(("subprocess", "os.exec", "os.system", "os.posix", "socket")):
            events.append(event)

    sys.addaudithook(note)
    try:
        for url in [*GOOD, *BAD]:
            try:
                safe_to_open(url)
            except OutboundRefused:
                continue
    finally:
        is_on = False
    assert events == []


def test_a_message_shows_neither_secrets_nor_control_characters() -> None:
    text = shown("https://user:secret@a.example/x\n?token=secret#secret")
    assert text == "https://a.example/x\N{REPLACEMENT CHARACTER}"
    assert len(shown("https://a.example/" + "x" * 10_000)) < 250
