"""What a model's preset makes of a request's defaults."""

from __future__ import annotations

from lmrun.profile.effective import effective_prediction, prewarm, system_prompt
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


OWN = """\
version: 1
models:
  own: {source: file:m, load: {seed: 7}, deterministic: strict, prewarm: [terse, silent]}
  both: {source: file:m, load: {seed: 7}, deterministic: strict, preset: loose}
presets:
  terse: {system_prompt: Be brief.}
  silent: {}
  loose: {prediction: {seed: 1, deterministic: "off"}}
"""


def test_a_model_s_own_seed_and_determinism_lie_under_its_preset() -> None:
    profile = load(OWN).profile
    own, both = (effective_prediction(profile, key) for key in ("own", "both"))
    assert (own.seed, own.deterministic) == (7, "strict")
    assert (both.seed, both.deterministic) == (1, "off")


def test_prewarming_is_of_the_prompts_that_presets_have() -> None:
    assert prewarm(load(OWN).profile, "own") == ("Be brief.",)
    assert prewarm(load(OWN).profile, "both") == ()
