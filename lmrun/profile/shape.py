"""What the profile's types say about each path: keys, secrets, descriptions. It knows no value."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lmrun.profile.schema import Profile
from lmrun.settings.secret import Secret


@dataclass(frozen=True, slots=True)
class Shape:
    """One place in the profile. `each` describes the values of a map or list with free keys."""

    description: str = ""
    is_secret: bool = False
    fields: dict[str, Shape] = field(default_factory=dict)
    each: Shape | None = None

    def child(self, part: str | int) -> Shape:
        """The place beneath; an empty shape where the types declare none."""
        return self.fields.get(str(part)) or self.each or _NOTHING


_NOTHING = Shape()


@cache
def profile_shape() -> Shape:
    """The shape of the whole profile."""
    return _of_type(Profile, "")


def _of_field(info: FieldInfo) -> Shape:
    return _of_type(info.annotation, info.description or "")


def _of_type(annotation: Any, description: str) -> Shape:
    if annotation is Secret:
        return Shape(description, is_secret=True)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {name: _of_field(info) for name, info in annotation.model_fields.items()}
        return Shape(description, fields=fields)
    arguments = [part for part in get_args(annotation) if part is not Ellipsis]
    if get_origin(annotation) in (dict, tuple, list):
        return Shape(description, each=_of_type(arguments[-1], description))
    # Annotated and unions: the first part that is more than a plain value decides.
    for part in arguments:
        shape = _of_type(part, description)
        if shape.is_secret or shape.fields or shape.each:
            return shape
    return Shape(description)
