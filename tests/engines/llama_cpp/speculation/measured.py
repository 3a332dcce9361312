"""Cost curves for tests, in milliseconds by tokens of a decode."""

from __future__ import annotations

from lmrun.engines.llama_cpp.speculation.costs import CostCurve

FREE = {1: 5.0, 33: 5.0}
MEASURED = {1: 6.84, 2: 12.5, 3: 15.6, 5: 23.1, 9: 34.0, 17: 55.1, 33: 100.7}
"""SmolLM2-135M Q4_1, 400 tokens in the context, 2 threads."""


def make_costs(milliseconds: dict[int, float]) -> CostCurve:
    """A curve that was told these."""
    costs = CostCurve()
    for tokens, value in milliseconds.items():
        costs.observe(tokens, value / 1000)
    return costs
