"""What a run was measured on and with, in general words."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lmrun

_CPU_FACTS = Path("/proc/cpuinfo")


def read_conditions(model: Path, repeats: int) -> dict[str, Any]:
    """JSON values by name. `load_average`: how busy the machine was when the run began."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "model": model.name,
        "repeats": repeats,
        "cores": os.cpu_count(),
        "machine": f"{platform.system()} {platform.machine()}{_name_vectors()}",
        "load_average": round(os.getloadavg()[0], 1),
        "lmrun": lmrun.__version__,
        "commit": _read_commit(),
        "llama_cpp_python": version("llama-cpp-python"),
        "python": platform.python_version(),
    }


def describe(conditions: dict[str, Any]) -> str:
    """One line of Markdown."""
    return (
        f"{conditions['date']}, {conditions['model']}, {conditions['cores']} cores, "
        f"{conditions['machine']}, Python {conditions['python']}, lmrun {conditions['lmrun']} "
        f"({conditions['commit']}), llama-cpp-python {conditions['llama_cpp_python']}, "
        f"{conditions['repeats']} repeats, load average before {conditions['load_average']}."
    )


def _name_vectors() -> str:
    """The widest vector instructions that Linux names, as far as they matter here."""
    flags = _CPU_FACTS.read_text().split() if _CPU_FACTS.exists() else []
    found = next((it for it in ("avx512f", "avx2") if it in flags), "")
    return {"avx512f": ", AVX-512", "avx2": ", AVX2"}.get(found, "")


def _read_commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False
    )
    return found.stdout.strip() or "no commit"
