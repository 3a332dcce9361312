"""`system_fingerprint`: what, besides the request, decides about the text. It knows no request."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from lmrun.engines.base import ModelInfo
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.load import LoadConfig

_DECIDING = {
    "context_length",
    "gpu",
    "offload_kv_cache_to_gpu",
    "num_experts",
    "rope_frequency_base",
    "rope_frequency_scale",
    "adapters",
}
"""Load settings on which strict answers depend; it fixes or does without the others."""

_Files = tuple[tuple[str, int, int], ...]


def make_fingerprint(spec: InstanceSpec, info: ModelInfo | None) -> str | None:
    """Engine, its version, and a digest of all that the promise of `deterministic: strict` rests
    on: build and machine as the engine tells them, the files, the template, the load config.

    Paths are not in it: the same files elsewhere give the same text. None while the model is not
    loaded.
    """
    if info is None:
        return None
    attached = ((name, file.size, file.mtime_ns) for name, file in spec.attached.items())
    files = (("model", spec.size, spec.mtime_ns), *attached)
    template = f"{info.chat_template} {spec.prompt_template}"
    digest = _digest(info.fingerprint, template, files, spec.load)
    return f"{info.engine}-{info.engine_version}-{digest}"


@lru_cache(maxsize=256)
def _digest(engine: str, template: str, files: _Files, load: LoadConfig) -> str:
    parts = (engine, template, files, load.model_dump_json(include=_DECIDING))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
