"""What a model's preset makes of a request's defaults."""

from __future__ import annotations

from lmrun.profile.effective import effective_prediction, system_prompt
from lmrun.settings.prediction import PredictionConfig
from tests.profile.support import load

TEXT = """\
version: 1
models:
  plain: {source: file:m}
  terse: {source: file:m, preset: terse}
presets:
  terse: {system_prompt: Be brief., prediction: {temperature: 0.2}}
"""


def test_a_preset_gives_its_prompt_and_the_settings_it_chose() -> None:
    profile = load(TEXT).profile
    assert system_prompt(profile, "terse") == "Be brief."
    prediction = effective_prediction(profile, "terse")
    assert prediction.temperature == 0.2
    assert prediction.model_fields_set == {"temperature"}


def test_without_a_preset_nothing_is_chosen() -> None:
    profile = load(TEXT).profile
    assert system_prompt(profile, "plain") is None
    assert effective_prediction(profile, "plain") == PredictionConfig()
    assert effective_prediction(profile, "plain").model_fields_set == set()
