"""Every benchmark, one after the other: `python -m benchmarks [engine|serving]`."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from benchmarks.model import find_model

SCENARIOS = ("engine", "serving")


def main() -> None:
    names = sys.argv[1:] or SCENARIOS
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise SystemExit(f"No benchmark {unknown[0]!r}; there are: {', '.join(SCENARIOS)}.")
    model = asyncio.run(find_model())
    for name in names:
        print(f"{name}, {model.name}", flush=True)
        # A process of its own each: what one leaves in memory must not slow the next.
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", str(model)], check=True)


if __name__ == "__main__":
    main()
