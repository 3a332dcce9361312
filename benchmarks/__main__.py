"""`python -m benchmarks [scenario…]`: lmrun beside a bare loop and its peers, as one table."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.conditions import describe, read_conditions
from benchmarks.contenders.base import PEERS
from benchmarks.model import CACHE, find_model
from benchmarks.results import Result
from benchmarks.run import run
from benchmarks.scenarios.index import SCENARIOS
from benchmarks.table import insert, render_json, render_lines, render_markdown

RESULTS = CACHE / "results"
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


def main() -> None:
    options = parse_arguments()
    if options.list:
        print("\n".join(f"{name:<20}{it.title}" for name, it in SCENARIOS.items()))
        return
    with one_at_a_time():
        asyncio.run(measure(options))


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Waits until no other benchmark of this checkout runs: two would measure each other."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another benchmark is running; waiting for its end.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "scenario", nargs="*", choices=[[], *SCENARIOS], help="default: all of --list"
    )
    parser.add_argument("--list", action="store_true", help="name the scenarios and end")
    parser.add_argument("--repeats", type=int, default=7, help="default: 7; long scenarios do less")
    parser.add_argument("--no-peers", action="store_true", help="only lmrun and the bare loop")
    parser.add_argument("--model", type=Path, help="a GGUF file with SmolLM2's vocabulary")
    parser.add_argument(
        "--write-docs", action="store_true", help=f"put the table into docs/{DOCUMENT.name}"
    )
    return parser.parse_args()


async def measure(options: argparse.Namespace) -> None:
    model = options.model or await find_model()
    conditions = read_conditions(model, options.repeats)
    print(describe(conditions), flush=True)
    left_out = PEERS if options.no_peers else ()
    results = []
    for name in options.scenario or SCENARIOS:
        results.append(await run(SCENARIOS[name], model, options.repeats, left_out))
        print(render_lines(results[-1]), flush=True)
        table = write(results, conditions)
    print(f"written: {RESULTS}/last.md and last.json")
    if options.write_docs:
        DOCUMENT.write_text(insert(DOCUMENT.read_text(), table))
        print(f"written: {DOCUMENT}")


def write(results: list[Result], conditions: dict[str, Any]) -> str:
    """Leave what is known so far in `RESULTS`. The table."""
    table = render_markdown(results, describe(conditions))
    (RESULTS / "last.md").write_text(table)
    (RESULTS / "last.json").write_text(render_json(results, conditions))
    return table


if __name__ == "__main__":
    main()
