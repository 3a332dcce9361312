"""Another chat template is another load, which a plan tells by the template's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmrun.profile.loader import load_profile
from lmrun.profile.schema import ModelConfig, ServerConfig
from lmrun.reconcile.desired import Desired, DesiredModel, read_desired
from lmrun.reconcile.outcome import Action
from lmrun.reconcile.plan import Observed, ObservedInstance, make_plan
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.load import LoadConfig
from lmrun.settings.prompt_template import PromptTemplate
from tests.reconcile.test_desired import Shelf

NAMED = PromptTemplate(name="qwen2.5")
WRITTEN = PromptTemplate(jinja="{{ messages[0].content }}")
EDITED = PromptTemplate(jinja="{{ messages[1].content }}")


def spec(template: PromptTemplate | None) -> InstanceSpec:
    path = Path("/m.scripted.json")
    return InstanceSpec("m", "m", "scripted", path, 1, 1, LoadConfig(), prompt_template=template)


def plan(before: PromptTemplate | None, after: PromptTemplate | None) -> tuple[Action, ...]:
    given: dict[str, Any] = {"source": "file:/m.scripted.json", "prompt_template": after}
    wanted = DesiredModel("m", ModelConfig.model_validate(given), None, spec(after))
    observed = Observed(ServerConfig(), (ObservedInstance(spec(before), "ready"),))
    return make_plan(Desired(ServerConfig(), (wanted,)), observed, 1).actions


@pytest.mark.parametrize(
    ("before", "after", "old", "new"),
    [
        (None, NAMED, None, "qwen2.5"),
        (NAMED, None, "qwen2.5", None),
        (NAMED, WRITTEN, "qwen2.5", str(WRITTEN)),
        (WRITTEN, EDITED, str(WRITTEN), str(EDITED)),
    ],
    ids=["given", "taken away", "replaced", "edited"],
)
def test_another_template_is_a_reload_that_names_both(
    before: PromptTemplate | None, after: PromptTemplate | None, old: str | None, new: str | None
) -> None:
    (action,) = plan(before, after)
    (change,) = action.changes
    assert (action.kind, change.field) == ("Reload", "models.m.prompt_template")
    assert (change.old, change.new) == (old, new)


@pytest.mark.parametrize("template", [None, NAMED, WRITTEN], ids=str)
def test_the_same_template_changes_nothing(template: PromptTemplate | None) -> None:
    assert plan(template, template) == ()


def test_the_instance_gets_the_template_of_its_model(tmp_path: Path) -> None:
    profile = tmp_path / "p.yaml"
    model = "{source: 'file:./m.scripted.json', prompt_template: {name: qwen2.5}}"
    profile.write_text(f"version: 1\nmodels: {{m: {model}}}\n")
    (wanted,) = read_desired(load_profile(profile, {}), Shelf()).models
    assert wanted.spec is not None and wanted.spec.prompt_template == NAMED
