"""The list of models as OpenAI's clients see it. It knows no generation."""

from __future__ import annotations

from starlette.types import ASGIApp

from lmrun.api.openai.answers.bodies import Model, ModelList
from lmrun.api.routes import Call, Handler
from lmrun.api.serving import Pool
from lmrun.api.sse import JsonAnswer
from lmrun.errors import ModelNotFound
from lmrun.runtime.spec import InstanceSpec


def list_models(pool: Pool) -> tuple[Model, ...]:
    """What requests may name, by identifier: with just-in-time loading all declared models whose
    files are here, else those that are loaded."""
    return tuple(_to_model(spec) for spec in pool.offered)


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
            f"There is no model {call.path['id'][:200]!r}.",
            param="model",
            hint=f"There are: {names}.",
        )

    return answer


def _to_model(spec: InstanceSpec) -> Model:
    return Model(spec.identifier, spec.mtime_ns // 10**9)
