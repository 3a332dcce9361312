"""Who asks: what is known of a request's client beyond its body. It knows no key, header or route.

Whoever answers a request finds it here, however deep below the handler it works.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from lmrun.api.routes import Scope, is_granted
from lmrun.errors import Forbidden


@dataclass(frozen=True, slots=True)
class Client:
    """`granted`: the scopes of its API key, None where no key is asked for. `is_owner`: it came
    over the unix socket, which lets only this user in. `wants_steps`: of an agent it wants to read
    what happens on the way to the answer. `idempotency_keys`: what its header `idempotency-key`
    says, as often as it came; nobody has looked at it yet."""

    granted: frozenset[str] | None = None
    is_owner: bool = False
    wants_steps: bool = False
    idempotency_keys: tuple[str, ...] = ()

    def require(self, scope: Scope, what: str) -> None:
        """Raises Forbidden where its key does not grant `scope`, which `what` needs."""
        if self.granted is not None and not is_granted(scope, self.granted):
            raise Forbidden(
                f"{what} needs an API key with the scope {scope!r}, which this one does not grant.",
                hint="The profile lists what a key grants in its `scopes`.",
            )


_current: ContextVar[Client] = ContextVar("lmrun_client", default=Client())  # noqa: B039  frozen


def current_client() -> Client:
    """That of the request which this task, or the one that started it, works for."""
    return _current.get()


@contextmanager
def answering(client: Client) -> Iterator[None]:
    """What the block does, it does for `client`, and so do the tasks that it starts."""
    token = _current.set(client)
    try:
        yield
    finally:
        _current.reset(token)
