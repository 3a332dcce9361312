"""Which hosts a declared request may reach. Pure; it resolves no name."""

from __future__ import annotations

from collections.abc import Sequence

from lmrun.profile.tooling.templates.request import UrlTemplate
from lmrun.settings.outbound import DEFAULT_PORTS, OutboundPolicy


def make_policy(url: UrlTemplate, hosts: Sequence[str], *, is_private: bool) -> OutboundPolicy:
    """Without `hosts` it is the host in the URL, at its port. Raises OutboundRefused for a URL that
    may not be reached by it, whatever its name leads to."""
    host, port = url.host, url.port or DEFAULT_PORTS[url.scheme]
    own = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    policy = OutboundPolicy(
        hosts=tuple(hosts) or (own,),
        allow_private=is_private,
        allow_loopback=is_private,
        allow_plain=url.scheme == "http",
    )
    policy.check(url.scheme, host, port)
    return policy
