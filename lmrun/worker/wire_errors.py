"""Errors of lmrun's tree as values of a frame, and back. It knows nothing of where they end up."""

from __future__ import annotations

from lmrun import errors
from lmrun.errors import LmrunError
from lmrun.worker.frames import WireError

_PLAIN: tuple[type[LmrunError], ...] = (
    errors.EngineError,
    errors.EngineMissing,
    errors.LoadFailed,
    errors.ModelInvalid,
    errors.SourceMissing,
    errors.TemplateFailed,
)
_WITH_PARAM: tuple[type[errors.RequestError] | type[errors.SettingRefused], ...] = (
    errors.SettingRefused,
    errors.InvalidParameter,
    errors.UnsupportedParameter,
    errors.ContextOverflow,
)
_PLAIN_BY_CODE = {kind.code: kind for kind in _PLAIN}
_WITH_PARAM_BY_CODE = {kind.code: kind for kind in _WITH_PARAM}


def to_wire(error: LmrunError) -> WireError:
    """`error` as a value: its code and what it carries."""
    param = getattr(error, "param", None)
    return WireError(code=error.code, message=error.message, hint=error.hint, param=param)


def from_wire(error: WireError) -> LmrunError:
    """The error of the tree that `error` names; an EngineError when the code is unknown."""
    if kind := _WITH_PARAM_BY_CODE.get(error.code):
        return kind(error.message, param=error.param, hint=error.hint)
    return _PLAIN_BY_CODE.get(error.code, errors.EngineError)(error.message, hint=error.hint)
