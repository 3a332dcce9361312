"""/v1/embeddings: texts or token ids become vectors. It knows no generation."""

from __future__ import annotations

import base64
from typing import Annotated, Literal

import msgspec
from pydantic import Field
from starlette.types import ASGIApp

from lmrun.api.fields import NO_EFFECT
from lmrun.api.openai.texts import Texts, TextsField
from lmrun.api.prompt_limits import check_text
from lmrun.api.routes import Call, Handler
from lmrun.api.serving import Instance, Pool
from lmrun.api.sse import JsonAnswer
from lmrun.api.validate import validate_request
from lmrun.errors import InvalidParameter, UnsupportedParameter
from lmrun.runtime.answers.vectors import Vectors
from lmrun.settings.base import Settings

MAX_INPUTS = 2048
"""As OpenAI has it."""

EncodingFormat = Literal["float", "base64"]


class EmbeddingRequest(Settings):
    """The body of /v1/embeddings."""

    model: str = Field(min_length=1, max_length=512, description="An identifier of /v1/models.")
    input: Annotated[Texts, TextsField("input", MAX_INPUTS)] = Field(
        description="A text or its token ids, or an array of either; each becomes a vector."
    )
    dimensions: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(
        None,
        description="How many numbers a vector has: the first so many, at unit length again. Left "
        "out: as many as the model makes.",
    )
    encoding_format: EncodingFormat = Field(
        "float", description="Numbers, or base64 of float32 in little-endian order."
    )
    user: str | None = Field(
        None,
        description="For a provider's abuse detection; here is no provider.",
        json_schema_extra=NO_EFFECT,
    )
    ttl: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(
        None,
        description="Seconds that the model may be idle if this request loads it; one that is "
        "loaded already keeps its own.",
    )


class Embedding(msgspec.Struct, frozen=True):
    """`embedding`: its numbers, or base64 where that was asked for. `index`: of its input."""

    embedding: list[float] | str
    index: int
    object: Literal["embedding"] = "embedding"


class EmbeddingUsage(msgspec.Struct, frozen=True):
    """Tokens of all inputs together, special ones included."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct, frozen=True):
    data: tuple[Embedding, ...]
    model: str
    usage: EmbeddingUsage
    object: Literal["list"] = "list"


def make_embedding_handler(pool: Pool) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        request = validate_request(EmbeddingRequest, call.json)
        check_inputs(request.input)
        async with pool.acquire(request.model, ttl_s=request.ttl) as lease:
            require_embedding_model(lease.instance)
            vectors = await lease.embed(request.input, request.dimensions)
            identifier = lease.instance.spec.identifier
        return JsonAnswer(to_list(vectors, identifier, request.encoding_format))

    return answer


def check_inputs(inputs: Texts) -> None:
    """Raises InvalidParameter for an empty text, whose `param` names it, and BodyTooLarge."""
    check_text(sum(len(text.encode()) for text in inputs if isinstance(text, str)))
    for index, text in enumerate(inputs):
        if not text:
            where = f"input[{index}]"
            raise InvalidParameter(f"`{where}`: it is an empty text.", param=where)


def require_embedding_model(instance: Instance) -> None:
    """Raises UnsupportedParameter, before anything goes on its way to another kind of model."""
    info = instance.info
    if info is not None and info.type != "embedding":
        raise UnsupportedParameter(
            f"The model {instance.spec.identifier!r} generates text; it makes no embeddings.",
            param="model",
            hint="Name an embedding model.",
        )


def to_list(vectors: Vectors, model: str, form: EncodingFormat) -> EmbeddingList:
    """The answer, vectors in the inputs' order."""
    return EmbeddingList(
        tuple(Embedding(_encode(vectors, index, form), index) for index in range(vectors.count)),
        model,
        EmbeddingUsage(vectors.prompt_tokens, vectors.prompt_tokens),
    )


def _encode(vectors: Vectors, index: int, form: EncodingFormat) -> list[float] | str:
    if form == "base64":
        return base64.b64encode(vectors.read_bytes(index)).decode()
    return vectors.read(index)
