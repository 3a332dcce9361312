"""/apply-template, as llama-server has it: the prompt that a conversation in OpenAI's notation
becomes. It generates nothing."""

from __future__ import annotations

import msgspec
from starlette.types import ASGIApp

from lmrun.api.generation import require_sight
from lmrun.api.openai.convert import name_field, to_request
from lmrun.api.openai.requests import TemplateRequest
from lmrun.api.routes import Call, Handler
from lmrun.api.serving import Pool
from lmrun.api.sse import JsonAnswer
from lmrun.api.validate import validate_request
from lmrun.errors import RequestError


class TemplateAnswer(msgspec.Struct, frozen=True):
    """`prompt`: what the template wrote; `[image]` stands for an image."""

    prompt: str


def make_template_handler(pool: Pool) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        given = validate_request(TemplateRequest, call.json)
        request = to_request(given)
        try:
            async with pool.acquire(given.model) as lease:
                require_sight(lease.instance, request)
                rendered = await lease.render(request)
        except RequestError as error:
            if error.param is not None:
                error.param = name_field(request, error.param)
            raise
        return JsonAnswer(TemplateAnswer(rendered.text))

    return answer
