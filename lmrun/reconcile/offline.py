"""A plan while no server runs: everything that is declared would be new."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lmrun.catalog.catalog import Catalog
from lmrun.profile.loader import load_profile
from lmrun.reconcile.desired import read_desired
from lmrun.reconcile.observed import Observed
from lmrun.reconcile.outcome import Plan
from lmrun.reconcile.plan import make_plan
from lmrun.store.home import Home


def plan_offline(path: Path, environment: Mapping[str, str], home: Home) -> Plan:
    """What a server that starts now would do. Raises ProfileInvalid."""
    loaded = load_profile(path, environment)
    return make_plan(read_desired(loaded, Catalog(home)), Observed(), base_generation=0)
