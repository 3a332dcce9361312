"""Adapters, drafts and kept prefixes on their way to a worker, and what it holds back to status."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from lmrun.reconcile.status import InstanceStatus
from tests.support.profiles import ask, write_profile
from tests.support.server import Server, eventually
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_lora import write_tiny_lora

LOAD: dict[str, Any] = {
    "context_length": 512,
    "seed": 7,
    "adapters": [{"source": "file:./tuned.gguf", "name": "tuned", "scale": 0.5}],
    "draft_model": "file:./draft.gguf",
    "prefix_cache": {"ram": "8MiB", "persist": True},
}
PRESETS = {"short": {"system_prompt": "Be brief.", "prediction": {"max_tokens": 4}}}


def profile_of(folder: Path, **load: Any) -> Path:
    model = {
        "source": "file:./m.gguf",
        "load": LOAD | load,
        "preset": "short",
        "prewarm": ["short"],
        "deterministic": "strict",
    }
    return write_profile(folder / "p.yaml", {"a": model}, presets=PRESETS, port=0)


def find_usage(server: Server) -> InstanceStatus | None:
    """The instance, once its engine has said what it holds."""
    instance = server.instance("a")
    return instance if instance is not None and instance.usage is not None else None


def test_files_reach_the_worker_and_what_it_holds_reaches_status(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path / "m.gguf")
    write_tiny_llama(tmp_path / "draft.gguf", seed=2)
    write_tiny_lora(tmp_path / "tuned.gguf")
    with Server(tmp_path) as server:
        assert server.apply(profile_of(tmp_path)).converged
        assert ask(server.address, "Hello") == ask(server.address, "Hello")

        held = eventually(lambda: find_usage(server))
        assert held.usage is not None and held.usage.kv_tokens >= 4 * 512
        assert held.usage.prefix_cache_limit == 8 * 2**20
        assert held.memory.estimated_bytes is not None and held.memory.estimated_bytes > 0
        (folder,) = (server.home.prefixes).iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

        write_tiny_lora(tmp_path / "tuned.gguf", architecture="qwen2")
        server.apply(profile_of(tmp_path))
        current = next(it for it in server.model("a").conditions if it.type == "UpToDate")
        assert (current.status, current.reason) == ("False", "RolledBack")
        assert "load.adapters" in current.message and "qwen2" in current.message


def test_a_model_whose_prefixes_have_nowhere_to_stay_loads_all_the_same(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path / "m.gguf")
    load = {"context_length": 512, "prefix_cache": {"persist": True}}
    model = {"source": "file:./m.gguf", "load": load}
    with Server(tmp_path) as server:
        server.home.prefixes.parent.mkdir(exist_ok=True)
        server.home.prefixes.write_text("in the way")
        assert server.apply(write_profile(tmp_path / "p.yaml", {"a": model}, port=0)).converged
        assert ask(server.address, "Hello")
