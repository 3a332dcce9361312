"""What a message or a function's output is made of. It knows no item and no other parameter.

Format: `ResponseInputContent` and `ResponseOutputMessage.content` of OpenAI's reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from lmrun.api.enclosed_files import parse_image, parse_text_file
from lmrun.api.fields import NO_EFFECT, SAYS_ALL, UNSUPPORTED, only
from lmrun.api.responses.requests.kinds import OneOf, OrText
from lmrun.chat.messages import ImagePart, TextPart
from lmrun.settings.base import Settings

MAX_PARTS = 1024

_NO_FILES = "There are no stored files here: send the file itself."

CacheBreakpoint = Annotated[
    dict[str, Any] | None,
    Field(json_schema_extra=NO_EFFECT, description="Every prefix is cached here."),
]


def _reading(parse: Callable[[str], Any]) -> BeforeValidator:
    """A data URL's content; what is wrong with the URL is what is wrong with the field."""

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            raise PydanticCustomError("string_type", "Input should be a valid string")
        try:
            return parse(value)
        except ValueError as error:
            raise PydanticCustomError(SAYS_ALL, "{reason}", {"reason": str(error)}) from None

    return BeforeValidator(read)


class InputText(Settings):
    """Text."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: CacheBreakpoint = None

    def to_part(self) -> TextPart:
        return TextPart(self.text)


class InputImage(Settings):
    """A picture, for models that see."""

    type: Literal["input_image"]
    image_url: Annotated[
        bytes,
        _reading(parse_image),
        WithJsonSchema({"type": "string", "pattern": "^data:image/"}),
    ]
    detail: Annotated[Any, only("auto")] = Field(None, description="The model decides.")
    file_id: Annotated[Any, only()] = Field(None, description=_NO_FILES)
    prompt_cache_breakpoint: CacheBreakpoint = None

    def to_part(self) -> ImagePart:
        return ImagePart(self.image_url)


class InputFile(Settings):
    """A file of text, with its name above it."""

    type: Literal["input_file"]
    file_data: Annotated[
        str, _reading(parse_text_file), WithJsonSchema({"type": "string", "pattern": "^data:"})
    ]
    filename: Annotated[str, Field(max_length=256)] | None = None
    detail: Annotated[Any, only("auto")] = Field(None, description="Text has no resolution.")
    file_id: Annotated[Any, only()] = Field(None, description=_NO_FILES)
    file_url: Annotated[Any, only()] = Field(
        None, description="The server fetches nothing from the network."
    )
    prompt_cache_breakpoint: CacheBreakpoint = None

    def to_part(self) -> TextPart:
        name = self.filename
        return TextPart(f"File {name}:\n{self.file_data}" if name else self.file_data)


class OutputText(Settings):
    """Text that an assistant said."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any] | None = Field(
        None, json_schema_extra=NO_EFFECT, description="Chat templates have no place for them."
    )
    logprobs: list[Any] | None = Field(
        None, json_schema_extra=NO_EFFECT, description="What was said counts, not how likely."
    )

    def to_part(self) -> TextPart:
        return TextPart(self.text)


class Refusal(Settings):
    """What an assistant said in place of an answer."""

    type: Literal["refusal"]
    refusal: str

    def to_part(self) -> TextPart:
        return TextPart(self.refusal)


Part = InputText | InputImage | InputFile | OutputText | Refusal

_PARTS = OneOf(
    {
        "input_text": InputText,
        "input_image": InputImage,
        "input_file": InputFile,
        "output_text": OutputText,
        "refusal": Refusal,
    },
    instead="only text, images and files of text are",
)


def _wrap_text(text: str) -> Any:
    return ({"type": "input_text", "text": text},)


Content = Annotated[
    tuple[Annotated[Part, _PARTS], ...],
    Field(max_length=MAX_PARTS, strict=False),
    OrText(_wrap_text),
]
"""A string, which is one text, or parts."""


class Holder(Settings):
    """What has content. Only a user's may hold images."""

    @model_validator(mode="after")
    def _sees_only_where_it_may(self) -> Holder:
        for name, value in self:
            if isinstance(value, tuple) and getattr(self, "role", None) != "user":
                for place, part in enumerate(value):
                    if isinstance(part, InputImage):
                        raise PydanticCustomError(
                            UNSUPPORTED,
                            "{field}[{place}] is an image; only messages of the role user may "
                            "hold images",
                            {"field": name, "place": place},
                        )
        return self


def to_content(parts: tuple[Part, ...]) -> str | tuple[TextPart | ImagePart, ...]:
    """Texts joined by line breaks; or all parts, in their order, when there are images."""
    converted = tuple(part.to_part() for part in parts)
    if any(isinstance(part, ImagePart) for part in converted):
        return converted
    return "\n".join(part.text for part in converted if isinstance(part, TextPart))
