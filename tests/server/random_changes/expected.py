"""What should be after any changes: the reference that a real server is compared with. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

Policy = Literal["revert", "report", "adopt"]
SCRIPT = "m.scripted.json"


@dataclass(frozen=True, slots=True)
class Declared:
    """A model in a profile."""

    is_loaded: bool
    context_length: int


@dataclass(frozen=True, slots=True)
class Content:
    """A profile, as far as it is changed here."""

    models: tuple[tuple[str, Declared], ...] = ()
    policy: Policy = "report"

    def with_model(self, name: str, model: Declared | None) -> Content:
        models = {**dict(self.models), name: model}
        kept = {key: it for key, it in sorted(models.items()) if it is not None}
        return Content(tuple(kept.items()), self.policy)

    def write(self) -> str:
        models: dict[str, Any] = {
            name: {
                # One file each: what is broken is broken for one model.
                "source": f"file:./{name}.{SCRIPT}",
                "state": "loaded" if it.is_loaded else "absent",
                "load": {"context_length": it.context_length},
            }
            for name, it in self.models
        }
        server = {"port": 0, "jit": {"enabled": False}}
        content = {"version": 1, "drift": self.policy, "server": server, "models": models}
        return json.dumps(content, indent=1)


@dataclass(slots=True)
class Expected:
    """`file`: what the profile on the disk says. `accepted`: what is the desired state; None before
    the first apply, and after a stop for good. `newest`: the newest generation's. `hands`: what
    clients have made of instances, None for unloaded. `broken`: models whose file does not load.
    """

    file: Content = Content()
    accepted: Content | None = None
    newest: Content | None = None
    generation: int = 0
    is_disk_full: bool = False
    hands: dict[str, int | None] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    @property
    def policy(self) -> Policy | None:
        return self.accepted.policy if self.accepted else None

    @property
    def running(self) -> dict[str, int]:
        """The context length of all instances."""
        if self.accepted is None:
            return {}
        declared = {name: it.context_length for name, it in self.accepted.models if it.is_loaded}
        wanted: dict[str, int | None] = {**declared, **self.hands}
        return {name: length for name, length in wanted.items() if length is not None}

    def apply(self) -> bool:
        """Whether it is accepted."""
        if self.file != self.newest:
            if self.is_disk_full:
                return False
            self.generation += 1
        self.newest = self.accepted = self.file
        self.hands.clear()
        return True

    def restart(self) -> None:
        self.hands.clear()

    def stop(self) -> bool:
        """For good; whether that is accepted."""
        if self.is_disk_full:
            return False
        self.accepted = None
        self.hands.clear()
        return True

    def change_by_hand(self, name: str, length: int | None) -> None:
        """A client loads with this context length, or unloads."""
        assert self.accepted is not None
        if self.running.get(name) == length:
            return
        declared = dict(self.accepted.models)[name]
        if length == (declared.context_length if declared.is_loaded else None):
            self.hands.pop(name, None)
        elif self.accepted.policy != "revert":
            self.hands[name] = length
        self.adopt()

    def make_room(self) -> None:
        self.is_disk_full = False
        self.adopt()

    def adopt(self) -> None:
        """What can be is what the profile says then."""
        can = not self.is_disk_full and self.file == self.accepted
        if self.accepted is None or self.accepted.policy != "adopt" or not can or not self.hands:
            return
        for name, length in self.hands.items():
            known = dict(self.file.models)[name]
            model = Declared(length is not None, length or known.context_length)
            self.file = self.file.with_model(name, model)
        self.accepted = self.newest = self.file
        self.generation += 1
        self.hands.clear()
