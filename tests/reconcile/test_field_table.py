"""What the profile's types say that a change costs is what a plan does, for every field."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lmrun.catalog.catalog import LocatedModel
from lmrun.catalog.memory import Estimate, LoadFiles
from lmrun.profile.checks import find_contradictions
from lmrun.profile.loader import LoadedProfile
from lmrun.profile.schema import Profile
from lmrun.profile.shape import find_effect, profile_shape, walk_fields
from lmrun.reconcile.desired import Desired, read_desired
from lmrun.reconcile.outcome import Action
from lmrun.reconcile.plan import Observed, ObservedInstance, make_plan
from lmrun.settings.effects import Effect
from lmrun.settings.load import LoadConfig
from lmrun.settings.secret import Secret
from lmrun.settings.sources import FileSource, Source

Raw = dict[str, Any]

BASE: Raw = {
    "version": 1,
    "server": {"api_keys": [{"name": "ci", "key": Secret("k" * 40)}]},
    "models": {
        "a": {
            "source": "file:/m.scripted.json",
            "identifier": "assistant",
            "preset": "p",
            "prewarm": ["q"],
            "prompt_template": {"name": "chatml"},
            "load": {
                "adapters": [{"source": "file:/x.gguf"}],
                "gpu": {"ratio": 0.5},
                "context_length": 64,
            },
        },
        "several": {
            "source": "file:/n.scripted.json",
            "instances": [
                {"identifier": "one", "load": {"adapters": [{"source": "file:/x.gguf"}]}},
                {"identifier": "two"},
            ],
        },
        "jit": {"source": "file:/o.scripted.json", "state": "on_demand"},
    },
    "presets": {"p": {"system_prompt": "Be brief."}, "q": {"system_prompt": "Be kind."}},
    "checks": {"c": {"model": "a", "prompt": "Hi", "expect": {"contains": "Hi"}}},
    "tools": {
        "function": {"python": "m:f"},
        "program": {"command": ["echo", "{x}"], "parameters": {"x": {"type": "string"}}},
        "web": {
            "http": {"url": "https://example.com/{x}"},
            "parameters": {"x": {"type": "string"}},
        },
    },
    "mcp_servers": {
        "local": {"command": ["serve"], "sampling": {"model": "a"}},
        "remote": {"url": "https://example.com/mcp", "oauth": {"client_id": "lmrun"}},
    },
    "agents": {"bob": {"model": "a", "tools": ["function"]}},
    "policy": {"rules": [{"tools": ["function"], "decision": "ask"}]},
}
CANDIDATES: list[Any] = [
    *(True, False, 0, 1, 2, 0.25, 0.5, 300, 4096, "a", "q", "9s", "2h", "3MiB", "strict", "absent"),
    *("recreate", "json", "error", "warn", "q8_0", "evenly", "off", "low", "one", "/^x/", "revert"),
    *("rollingWindow", "127.0.0.2", "file:/other.scripted.json", "<|im_end|>", "qwen2.5"),
    *([], ["q"], ["inference", "tools"], ["https://app.example.com"], ["box.lan"], [1.0, 2.0]),
    *([0], {}, {"a": 1.0}, {"7": 1.0}, Secret("x" * 40), {"type": "json"}, {"regex": "a+"}),
    *({"jinja": "{{ messages }}"}, {"name": "qwen2.5"}, {"role": "user", "content": "x"}),
    *([{"source": "file:/y.gguf"}], [{"identifier": "one"}], {"json_schema": {"type": "object"}}),
    *("m:g", ["ls"], "https://example.org/mcp", "sse", "deny", "POST", "items[0]", ["write"]),
    *({"x": {"type": "integer"}}, {"x": "allow"}, {"x": ["write"]}, ["x"], {"a": "b"}),
    *([{"tools": ["web"], "decision": "allow"}], {"x": "a+"}, ["PATH"]),
    *([{"name": "web", "key": Secret("w" * 40)}], {"enabled": True}, {"kind": "regex"}),
    *("mcp/local/review", ["mcp/local/note://a"]),
]
"""Values of every kind; what the types let through and is not what the base has is a change."""

CONTEXTS: dict[str, tuple[tuple[str, ...], Any]] = {
    "jinja": (("models", "a", "prompt_template"), {"jinja": "{{ x }}"}),
    "manual": (("models", "a", "prompt_template"), {"manual": {"before_user": "U"}}),
    "arguments": (("presets", "q"), {"mcp_prompt": "mcp/local/review"}),
    "structured": (
        ("presets", "p", "prediction"),
        {"structured": {"type": "json", "thought": {"start": "<t>", "end": "</t>"}}},
    ),
    "reasoning_parsing": (
        ("presets", "p", "prediction"),
        {"reasoning_parsing": {"start_string": "<t>", "end_string": "</t>"}},
    ),
}
"""What has to stand around a field of that name, in the base, for it to be one."""

ONE_VALUE = ("version", "type")
"""Fields that have no other value."""

OWNERS: dict[str, dict[str, str]] = {
    "models": {"ttl": "jit", "pinned": "jit", "instances": "several", "": "a"},
    "presets": {"arguments": "q", "": "p"},
    "checks": {"": "c"},
    "agents": {"": "bob"},
    "tools": {
        **dict.fromkeys(("command", "parameters", "optional"), "program"),
        "http": "web",
        "": "function",
    },
    "mcp_servers": {
        **dict.fromkeys(("url", "transport", "headers", "oauth", "private"), "remote"),
        "": "local",
    },
}
"""By section: which one of the base a field of that name means something for; else the last."""


def fields() -> list[tuple[str, ...]]:
    """Every field that is set as a whole: the fields of sections are listed for themselves. A
    section that costs nothing is tried as one."""
    return [
        path
        for path, shape in walk_fields(profile_shape())
        if not shape.fields
        and path not in (("models",), ("presets",))
        and (path[0] != "checks" or len(path) == 1)
        and path[-1] not in ONE_VALUE
    ]


@pytest.mark.parametrize("path", fields(), ids=".".join)
def test_a_change_costs_what_the_types_say(path: tuple[str, ...]) -> None:
    place = locate(path)
    effect = find_effect(*map(str, place))
    before = make_base(place)
    base = desire(before)
    changed = [desire(raw) for raw in alterations(before, place)]
    assert changed or effect == "nothing", "the test knows no other value for it: add one"
    for desired in changed:
        actions = make_plan(desired, observe(base), 1).actions
        assert fits(effect, actions), (desired, actions)


def fits(effect: Effect, actions: tuple[Action, ...]) -> bool:
    kinds = {action.kind for action in actions}
    if effect == "nothing":
        return not actions
    if effect == "Load or Unload":
        return bool(kinds & {"Load", "Unload"})
    return kinds == {effect}


def test_every_field_has_an_entry() -> None:
    unsaid = [".".join(path) for path, shape in walk_fields(profile_shape()) if not has_own(shape)]
    assert unsaid == []


def has_own(shape: Any) -> bool:
    """Whether its effect is said, for itself or for every field below."""
    return shape.effect is not None or bool(shape.fields) or shape.each is not None


def locate(path: tuple[str, ...]) -> tuple[str | int, ...]:
    """The field's place in the base: `<name>` is the model, preset, tool or item that has it."""
    place: list[str | int] = []
    for index, part in enumerate(path):
        if part != "<name>":
            place.append(part)
        elif len(place) == 1 and place[0] in OWNERS:
            owners = OWNERS[str(place[0])]
            place.append(owners.get(path[index + 1], owners[""]))
        else:
            place.append(0)
    return tuple(place)


def make_base(place: tuple[str | int, ...]) -> Raw:
    """The base with what the field at `place` needs around it."""
    raw = copy.deepcopy(BASE)
    for name, (where, value) in CONTEXTS.items():
        if name in place:
            put(raw, where, copy.deepcopy(value))
    return raw


def alterations(base: Raw, place: tuple[str | int, ...]) -> Iterator[Raw]:
    """The base with every other value at `place` that the types let through."""
    for value in CANDIDATES:
        raw = copy.deepcopy(base)
        if put(raw, place, value) and is_valid(raw, Profile.model_validate(base)):
            yield raw


def put(raw: Any, place: tuple[str | int, ...], value: Any) -> bool:
    """Set the value; whether it was another one before, the default included. Sections on the way
    are made."""
    *above, last = place
    for part in above:
        raw = raw.setdefault(part, {}) if isinstance(raw, dict) else raw[part]
    is_other = bool(raw.get(last) != value)
    raw[last] = value
    return is_other


def is_valid(raw: Raw, base: Profile) -> bool:
    """Whether it is another valid profile."""
    try:
        profile = Profile.model_validate(raw)
    except (ValidationError, ValueError):
        return False
    return not [*find_contradictions(raw)] and profile != base


class Finder:
    """Every file is there, and as large as any other."""

    def locate(self, source: Source) -> LocatedModel:
        assert isinstance(source, FileSource)
        return LocatedModel(source.path, 10, 1)

    def estimate_memory(self, files: LoadFiles, load: LoadConfig, *, strict: bool) -> Estimate:
        return Estimate(weights=100)


def desire(raw: Raw) -> Desired:
    profile = Profile.model_validate(raw)
    folders = {key: Path("/") for key in profile.models}
    attached = ("adapters", "mmproj", "draft_model", "instances")
    attachments = {key: dict.fromkeys(attached, Path("/")) for key in profile.models}
    loaded = LoadedProfile(profile, Path("/p.yaml"), (), folders, attachments, frozenset())
    return read_desired(loaded, Finder())


def observe(desired: Desired) -> Observed:
    """All of it is loaded, by requests where the profile leaves it to them."""
    specs = [model.spec for model in desired.models if model.config.state != "absent"]
    instances = [ObservedInstance(spec, "ready", in_flight=1) for spec in specs if spec is not None]
    return Observed(desired.server, tuple(instances), tooling=desired.tooling)


def test_nothing_changed_costs_nothing() -> None:
    desired = desire(BASE)
    assert make_plan(desired, observe(desired), 1).actions == ()
