"""What a change of a setting costs, said beside the setting's type. It knows no setting.

`name: Annotated[str, OnChange("Reload")]`; what lies below a section inherits its effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Effect = Literal["nothing", "Update", "Reload", "Listen", "Load or Unload"]
"""`nothing`: no action; it counts the next time that it is looked at. `Update`: from the next
request on. `Reload`: the instance is replaced, its streams finish first. `Listen`: the HTTP port is
opened anew, no model is touched. `Load or Unload`: an instance comes or goes."""


@dataclass(frozen=True, slots=True)
class OnChange:
    """Metadata of a field."""

    effect: Effect
