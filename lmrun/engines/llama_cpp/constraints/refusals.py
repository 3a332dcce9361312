"""How a constraint is refused, and how one fails. It knows no notation and no engine."""

from __future__ import annotations

from lmrun.errors import EngineError, InvalidParameter


class ConstraintFailed(EngineError):
    """A constraint broke while its answer was generated: that sequence cannot go on."""

    code = "constraint_failed"


def refuse(message: str, *, at: str = "", hint: str | None = None) -> InvalidParameter:
    """The error for what cannot be enforced. `at`: where, such as `#/properties/a` or `line 3`."""
    where = f" (at {at})" if at else ""
    text = f"{message[:1].upper()}{message[1:]}{where}."
    return InvalidParameter(text, param="structured", hint=hint)
