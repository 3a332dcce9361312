"""lmrun: a declarative runner for local language models.

`lmrun.act` is a Python program's way to a running server; nothing of it is imported before it is
asked for, since everything else imports this module.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_OF_CLIENTS = ("act", "act_async")


def __getattr__(name: str) -> Any:
    if name in _OF_CLIENTS:
        return getattr(import_module("lmrun.client.acting"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
