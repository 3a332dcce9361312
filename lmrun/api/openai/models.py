"""The list of models as OpenAI's clients see it. It knows no generation."""

from __future__ import annotations

from starlette.types import ASGIApp

from lmrun.api.openai.answers.bodies import Model, ModelList
from lmrun.api.routes import Call, Handler
from lmrun.api.serving import Instance, Pool
from lmrun.api.sse import JsonAnswer
from lmrun.errors import ModelNotFound

LISTED = frozenset({"loading", "ready"})
"""States in which a request by that name is answered, perhaps after a wait."""


def list_models(pool: Pool) -> tuple[Model, ...]:
    """The instances that answer requests, by identifier."""
    return tuple(
        _to_model(identifier, pool.instances[identifier])
        for identifier in sorted(pool.instances)
        if pool.instances[identifier].state in LISTED
    )


def make_list_handler(pool: Pool) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        return JsonAnswer(ModelList(list_models(pool)))

    return answer


def make_get_handler(pool: Pool) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        models = list_models(pool)
        for model in models:
            if model.id == call.path["id"]:
                return JsonAnswer(model)
        names = ", ".join(model.id for model in models) or "none"
        raise ModelNotFound(
            f"There is no model {call.path['id'][:200]!r}.", param="model", hint=f"Loaded: {names}."
        )

    return answer


def _to_model(identifier: str, instance: Instance) -> Model:
    return Model(identifier, instance.spec.mtime_ns // 10**9)
