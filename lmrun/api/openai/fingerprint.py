"""`system_fingerprint`: what, besides the request, decides about the text. It knows no request."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from lmrun.engines.base import ModelInfo
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.load import LoadConfig


def make_fingerprint(spec: InstanceSpec, info: ModelInfo | None) -> str | None:
    """Engine, its version, and a digest of the model file's identity and the load config.

    None while the model is not loaded.
    """
    if info is None:
        return None
    return _format(info.engine, info.engine_version, spec.size, spec.mtime_ns, spec.load)


@lru_cache(maxsize=256)
def _format(engine: str, version: str, size: int, mtime_ns: int, load: LoadConfig) -> str:
    identity = f"{size} {mtime_ns} {load.model_dump_json()}"
    return f"{engine}-{version}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
