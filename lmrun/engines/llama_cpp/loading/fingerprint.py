"""The engine's part of `system_fingerprint`: on what, of this machine and build, text depends.

What the load config and the files add is put in by whoever knows them. Threads, flash attention
and cache types are not in it: strict mode fixes them.
"""

from __future__ import annotations

import hashlib

import llama_cpp
from llama_cpp import llama_cpp as native

from lmrun.catalog.memory import STRICT_CHUNK


def digest_engine(context_length: int) -> str:
    """12 hex digits of llama.cpp's build, the CPU's features as it uses them, the context length
    and the size of strict slices."""
    features = native.llama_print_system_info().decode(errors="replace")
    parts = (llama_cpp.__version__, features, str(context_length), str(STRICT_CHUNK))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
