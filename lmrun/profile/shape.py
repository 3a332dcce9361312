"""What the profile's types say about each path: keys, secrets, descriptions, what a change costs.
It knows no value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lmrun.profile.schema import Profile
from lmrun.settings.effects import Effect, OnChange
from lmrun.settings.secret import Confidential, HiddenText, Secret


@dataclass(frozen=True, slots=True)
class Shape:
    """One place in the profile. `each` describes the values of a map or list with free keys.
    `effect`: what a change of it costs, unless what lies below says otherwise; None where no type
    says it. `is_confidential`: what files say there is not kept."""

    description: str = ""
    is_secret: bool = False
    fields: dict[str, Shape] = field(default_factory=dict)
    each: Shape | None = None
    effect: Effect | None = None
    is_confidential: bool = False

    def child(self, part: str | int) -> Shape:
        """The place beneath; an empty shape where the types declare none."""
        below = self.fields.get(str(part)) or self.each
        return below or (_CONFIDENTIAL if self.is_confidential else _NOTHING)


_NOTHING = Shape()
_CONFIDENTIAL = Shape(is_confidential=True)


@cache
def profile_shape() -> Shape:
    """The shape of the whole profile."""
    return _of_type(Profile, "", None)


def shape_of(model: type[BaseModel]) -> Shape:
    """The shape of another file that is described by types."""
    return _of_type(model, "", None)


def find_effect(*path: str | int) -> Effect:
    """What a change at `path` costs. What lies below a value that is compared as a whole costs
    what that does."""
    effect = look_up_effect(*path)
    assert effect is not None, f"{path} has no OnChange"
    return effect


def look_up_effect(*path: str | int) -> Effect | None:
    """The same; None for a section whose fields say it."""
    shape, effect = profile_shape(), None
    for part in path:
        shape = shape.child(part)
        effect = shape.effect or effect
    return effect


def walk_fields(
    shape: Shape, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Shape]]:
    """Every place below, sections included; free keys are `<name>`, items of a list `[]`."""
    for name, below in shape.fields.items():
        yield (*path, name), below
        yield from walk_fields(below, (*path, name))
    if shape.each is not None:
        yield from walk_fields(shape.each, (*path, "<name>"))


def _of_field(info: FieldInfo, above: Effect | None) -> Shape:
    own = [it.effect for it in info.metadata if isinstance(it, OnChange)]
    effect = own[0] if own else above
    shape = _of_type(info.annotation, info.description or "", effect)
    if any(isinstance(it, Confidential) for it in info.metadata):
        return _make_confidential(shape)
    return shape


def _make_confidential(shape: Shape) -> Shape:
    each = _make_confidential(shape.each) if shape.each is not None else None
    return replace(shape, each=each, is_confidential=True)


def _of_type(annotation: Any, description: str, effect: Effect | None) -> Shape:
    if annotation is Secret:
        return Shape(description, is_secret=True, effect=effect)
    if annotation is HiddenText:
        return Shape(description, effect=effect, is_confidential=True)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {name: _of_field(info, effect) for name, info in annotation.model_fields.items()}
        return Shape(description, fields=fields, effect=effect)
    arguments = [part for part in get_args(annotation) if part is not Ellipsis]
    if get_origin(annotation) in (dict, tuple, list):
        each = _of_type(arguments[-1], description, effect)
        return Shape(description, each=each, effect=effect)
    # Annotated and unions: the first part that is more than a plain value decides.
    for part in arguments:
        shape = _of_type(part, description, effect)
        if shape.is_secret or shape.fields or shape.each:
            return shape
    return Shape(description, effect=effect)
