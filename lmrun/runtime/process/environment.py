"""The environment of a worker: what it needs to run, and nothing that may be a secret. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

PASSED_ON = frozenset(
    {
        "PATH",
        "HOME",
        "TMPDIR",
        "TZ",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "LC_COLLATE",
        "LC_MESSAGES",
        "LC_MONETARY",
        "LC_NUMERIC",
        "LC_TIME",
        "PYTHONHOME",
        "PYTHONPATH",
        "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
        "CUDA_VISIBLE_DEVICES",
        "HIP_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "GOMP_SPINCOUNT",
        "OMP_WAIT_POLICY",
        "GLIBC_TUNABLES",
    }
)
"""An allow-list of whole names: a prefix like `LC_` would let `LC_API_KEY` through."""

_CHOSEN = {"GOMP_SPINCOUNT": "1000", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""What the user may choose otherwise."""


def make_environment(environment: Mapping[str, str], package_parent: Path | None) -> dict[str, str]:
    """A worker's environment. `package_parent`: the folder of a source checkout of lmrun.

    Without GGML_NO_BACKTRACE an abort in llama.cpp starts a debugger first and dies late. With
    libgomp's default of 300,000 spins before a thread sleeps, two threads beside other busy
    processes on two cores were measured at 1 to 11 tokens a second; with 1000, libgomp's own value
    for a crowded machine, at 18 to 32. On a quiet machine there was no difference (113 and 118).
    With `hugetlb=1` glibc asks for huge pages under the KV cache and what is computed, where Linux
    grants them to who asks: 8 and 16 streams were 1 % faster.
    """
    passed = {name: value for name, value in environment.items() if name in PASSED_ON}
    if package_parent is not None:
        places = [*passed.get("PYTHONPATH", "").split(os.pathsep), str(package_parent)]
        passed["PYTHONPATH"] = os.pathsep.join(place for place in places if place)
    return {**_CHOSEN, **passed, "GGML_NO_BACKTRACE": "1"}
