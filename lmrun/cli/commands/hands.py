"""`lmrun load` and `lmrun unload`: changing an instance by hand. What is wrong with a setting the
server says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from lmrun.cli.client import Control
from lmrun.cli.terminal import Terminal, paint, printable
from lmrun.errors import ServerUnreachable
from lmrun.reconcile.status import ByHandReport
from lmrun.store.home import Home

_MEANINGS = {
    "report": "It stays so until a profile is applied; `lmrun status` shows it as drift.",
    "revert": "The profile says `drift: revert`: it is undone at once.",
    "adopt": "The profile says `drift: adopt`: it is written into its files.",
}


@dataclass(frozen=True, slots=True)
class LoadWish:
    """What the command line asked for. `settings`: text by path. `identifier`: None for the
    declared one."""

    model: str
    settings: Mapping[str, str]
    identifier: str | None


def parse_settings(given: Iterable[str]) -> dict[str, str]:
    """`["load.seed=1"]` → `{"load.seed": "1"}`. Raises ValueError for what has no `=`."""
    settings: dict[str, str] = {}
    for text in given:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise ValueError(f"{text!r} is no PATH=VALUE, like load.context_length=2048")
        if path in settings:
            raise ValueError(f"{path} is set twice")
        settings[path] = value
    return settings


def load(wish: LoadWish, *, as_json: bool, terminal: Terminal, home: Home) -> None:
    """Load, wait and say so. Raises LmrunError for what the server refuses."""
    control = _connect(home)
    if not as_json:
        terminal.tell(paint(f"Loading {printable(wish.identifier or wish.model)}.", "dim"))
    try:
        done = control.load(wish.model, wish.settings, wish.identifier)
    except KeyboardInterrupt:
        terminal.tell("\nDetached. The server goes on; `lmrun status` shows how far it is.")
        raise
    if as_json:
        terminal.show(_encode(done))
    elif done.is_new:
        terminal.show(f"Loaded {printable(done.identifier)} in {done.seconds:.1f} s.")
        terminal.tell(paint(_MEANINGS[done.drift_policy], "dim"))
    else:
        terminal.show(f"{printable(done.identifier)} is loaded like that already.")


def unload(identifier: str, *, as_json: bool, terminal: Terminal, home: Home) -> None:
    """Unload and say so. Raises LmrunError for what the server refuses."""
    done = _connect(home).unload(identifier)
    if as_json:
        terminal.show(_encode(done))
        return
    terminal.show(f"Unloaded {printable(done.identifier)}.")
    terminal.tell(paint(_MEANINGS[done.drift_policy], "dim"))


def _connect(home: Home) -> Control:
    control = Control(home.control_socket)
    if not control.is_listening():
        raise ServerUnreachable("lmrun is not running.", hint="`lmrun apply PROFILE` starts it.")
    return control


def _encode(done: ByHandReport) -> str:
    return msgspec.json.format(msgspec.json.encode(done), indent=2).decode()
