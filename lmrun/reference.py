"""docs/api.md, generated from the server's own route table: `python -m lmrun.reference`.

`--check` writes nothing and exits 1 where the committed file differs.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from lmrun.api.app import make_routes
from lmrun.api.reference import render
from lmrun.api.routes import Route
from lmrun.server import House
from lmrun.store.home import Home

API_PATH = Path(__file__).parents[1] / "docs" / "api.md"


def list_routes() -> tuple[Route, ...]:
    """Every row of the port's table, of a house that never opens its doors."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        home.ensure()
        house = House(home, {})
        return make_routes(house.pool, house.extra_routes)


def main() -> int:
    """The exit status."""
    text = render(list_routes())
    if "--check" not in sys.argv[1:]:
        API_PATH.write_text(text)
        return 0
    if API_PATH.exists() and API_PATH.read_text() == text:
        return 0
    print(f"{API_PATH.name} is not what the route table says: run `make schemas`.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
