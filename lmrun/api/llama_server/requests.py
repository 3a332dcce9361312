"""The bodies of llama-server's requests, and of rerankers' as Cohere and Jina have them.

Every one names its model: a server of several falls back to none. It knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, FailFast, Field
from pydantic import WithJsonSchema as Schema
from pydantic_core import PydanticCustomError

from lmrun.api.fields import SAYS_ALL
from lmrun.settings.base import Settings

MAX_TOKENS = 2**17
MAX_DOCUMENTS = 2048

ModelName = Annotated[
    str, Field(min_length=1, max_length=512, description="An identifier of /v1/models.")
]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]


class TokenizeRequest(Settings):
    """The body of /tokenize."""

    model: ModelName
    content: str
    add_special: bool = Field(
        False, description="With BOS and EOS tokens, where the model wants them."
    )
    parse_special: bool = Field(
        True, description="Markup such as `<|im_start|>` becomes its token; false: it is text."
    )
    with_pieces: bool = Field(
        False, description="What each token says, too: text, or bytes that are part of a character."
    )


class DetokenizeRequest(Settings):
    """The body of /detokenize."""

    model: ModelName
    tokens: Annotated[tuple[TokenId, ...], FailFast(), Field(max_length=MAX_TOKENS, strict=False)]


def _to_text(value: Any) -> Any:
    """A text as it stands, or in an object of nothing else."""
    if isinstance(value, Mapping) and value.keys() == {"text"}:
        value = value["text"]
    if not isinstance(value, str):
        raise PydanticCustomError(SAYS_ALL, 'it must be a string or {"text": "…"}')
    return value


Document = Annotated[
    str,
    BeforeValidator(_to_text),
    Schema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {"text": {"type": "string"}},
                    "required": ["text"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class RerankRequest(Settings):
    """The body of /v1/rerank."""

    model: ModelName
    query: Annotated[str, Field(min_length=1)]
    documents: Annotated[
        tuple[Document, ...],
        FailFast(),
        Field(min_length=1, max_length=MAX_DOCUMENTS, strict=False),
    ]
    top_n: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(
        None, description="How many results, the best ones; left out: one of each document."
    )
    return_documents: bool = Field(False, description="Give each result's document back.")
