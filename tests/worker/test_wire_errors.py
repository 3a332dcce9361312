"""Errors cross the socket as what they are."""

from __future__ import annotations

import pytest

from lmrun import errors
from lmrun.errors import LmrunError
from lmrun.worker.frames import WireError
from lmrun.worker.wire_errors import from_wire, to_wire


@pytest.mark.parametrize(
    "error",
    [
        errors.EngineError("broken"),
        errors.EngineMissing("no llama_cpp", hint="Install lmrun[llama-cpp]."),
        errors.LoadFailed("no"),
        errors.ModelInvalid("zero dimension"),
        errors.SourceMissing("gone"),
        errors.TemplateFailed("line 3"),
        errors.SettingRefused("no", param="load.flash_attention", hint="Turn it off."),
        errors.InvalidParameter("no", param="prompt"),
        errors.UnsupportedParameter("no", param="model"),
        errors.ContextOverflow("too long", param="prompt", hint="Shorten it."),
    ],
)
def test_an_error_is_the_same_on_the_other_side(error: LmrunError) -> None:
    back = from_wire(to_wire(error))
    assert type(back) is type(error)
    assert vars(back) == vars(error)


def test_an_unknown_code_is_an_engine_error() -> None:
    back = from_wire(WireError("from_the_future", "hm", hint="Update."))
    assert type(back) is errors.EngineError
    assert (back.message, back.hint) == ("hm", "Update.")
