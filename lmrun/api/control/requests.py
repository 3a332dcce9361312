"""What a control request may say: which profile file, and values for its variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
from pydantic import Field, field_validator

from lmrun.errors import InvalidParameter
from lmrun.reconcile.outcome import Plan
from lmrun.settings.base import Settings

Variables = dict[
    Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")],
    Annotated[str, Field(max_length=65_536)],
]


class ProfileRequest(Settings):
    """`file`: the profile's absolute path; the server reads it. `environment`: values for the
    `${env:NAME}` it refers to, from the client's own environment."""

    file: str
    environment: Variables = Field(default_factory=dict)

    @field_validator("file")
    @classmethod
    def _is_absolute(cls, file: str) -> str:
        if not Path(file).is_absolute():
            raise ValueError("must be an absolute path: the server has another directory")
        return file

    @property
    def path(self) -> Path:
        return Path(self.file)


class ApplyRequest(ProfileRequest):
    """`watch`: apply later changes of the file by itself, too. `locked`: refuse what differs from
    the lock file beside the profile. `base_generation`: the one that
    the plan was made against which somebody has agreed to; None agrees to whatever comes. `plan`:
    a saved plan; anything else than that is refused."""

    watch: bool = False
    locked: bool = False
    base_generation: Annotated[int, Field(ge=0)] | None = None
    plan: dict[str, Any] | None = None

    def read_plan(self) -> Plan | None:
        """Raises InvalidParameter for what is no plan."""
        try:
            return None if self.plan is None else msgspec.convert(self.plan, Plan)
        except msgspec.ValidationError as error:
            raise InvalidParameter(f"plan: {error}.", param="plan") from None


class RollbackRequest(Settings):
    """`generation`: the one to go back to; None is the last that converged before the current
    one. `environment` as for a profile's file, `base_generation` as for an apply."""

    generation: Annotated[int, Field(ge=1)] | None = None
    environment: Variables = Field(default_factory=dict)
    base_generation: Annotated[int, Field(ge=0)] | None = None


class DownRequest(Settings):
    """Nothing to say: everything is unloaded."""
