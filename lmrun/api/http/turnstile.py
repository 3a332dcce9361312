"""How many requests of one API key are answered at a time. It knows no HTTP and no secret."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from lmrun.api.errors import TooManyRequests


class Turnstile:
    """Counts by the keys' names."""

    def __init__(self) -> None:
        self._inside: Counter[str] = Counter()

    @contextmanager
    def passing(self, name: str, most: int) -> Iterator[None]:
        """Be inside during the block. Raises TooManyRequests when `most` are there already."""
        if self._inside[name] >= most:
            raise TooManyRequests(
                f"{most} requests of the API key {name!r} are being answered already.",
                hint="The limit is server.limits.streams_per_key in the profile.",
            )
        self._inside[name] += 1
        try:
            yield
        finally:
            self._inside[name] -= 1
            if not self._inside[name]:
                del self._inside[name]
