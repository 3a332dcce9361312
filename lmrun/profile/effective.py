"""What a model's presets make of a request's defaults. It knows no request."""

from __future__ import annotations

from lmrun.profile.schema import Preset, Profile
from lmrun.settings.prediction import PredictionConfig


def effective_prediction(profile: Profile, model_key: str) -> PredictionConfig:
    """The model's prediction defaults; `model_fields_set` holds what its preset chose."""
    return _preset(profile, model_key).prediction


def system_prompt(profile: Profile, model_key: str) -> str | None:
    """What goes before conversations that bring no system message."""
    return _preset(profile, model_key).system_prompt


def _preset(profile: Profile, model_key: str) -> Preset:
    name = profile.models[model_key].preset
    return Preset() if name is None else profile.presets[name]
