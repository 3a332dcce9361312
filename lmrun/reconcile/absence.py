"""Why a declared model has no instance. Pure: what is known of it is handed in."""

from __future__ import annotations

from lmrun.errors import ModelNotReady
from lmrun.reconcile.backoff import Failure
from lmrun.reconcile.desired import DesiredModel

_BY_HAND = "POST /api/v1/models/load loads it, as does `lmrun load`; so does `lmrun apply`."


def explain_absence(
    name: str, model: DesiredModel, failure: Failure | None, *, is_unloaded_by_hand: bool
) -> ModelNotReady:
    """`name`: as the client called the model. `failure`: of its last load."""
    if model.config.state == "absent":
        return ModelNotReady(f"Model {name!r} is declared `state: absent`.")
    if model.config.state == "on_demand" and failure is None:
        return ModelNotReady(
            f"Model {name!r} is loaded on demand, and `server.jit.enabled` is false.", hint=_BY_HAND
        )
    if is_unloaded_by_hand:
        return ModelNotReady(f"Model {name!r} was unloaded by a client.", hint=_BY_HAND)
    if failure is not None:
        return ModelNotReady(f"Model {name!r} cannot be loaded: {failure.error}")
    return ModelNotReady(f"Model {name!r} is not loaded yet.", retry_after_s=1)
