"""What a model's presets make of a request's defaults. It knows no request."""

from __future__ import annotations

from typing import Any

from lmrun.profile.presets import Preset
from lmrun.profile.schema import ModelConfig, Profile
from lmrun.settings.prediction import PredictionConfig


def instance_configs(model: ModelConfig) -> tuple[ModelConfig, ...]:
    """One config per instance that the model declares, as if each were a model of its own."""
    if not model.instances:
        return (model,)
    return tuple(
        model.model_copy(
            update={
                "identifier": instance.identifier,
                "load": model.load.overlay(instance.load),
                "instances": (),
            }
        )
        for instance in model.instances
    )


def effective_prediction(profile: Profile, model_key: str) -> PredictionConfig:
    """The model's prediction defaults; `model_fields_set` holds what its preset chose, and what
    the model itself says: its seed and its determinism, under its preset's."""
    model = profile.models[model_key]
    own: dict[str, Any] = {}
    if model.load.seed is not None:
        own["seed"] = model.load.seed
    if "deterministic" in model.model_fields_set:
        own["deterministic"] = model.deterministic
    return PredictionConfig(**own).overlay(_preset(profile, model_key).prediction)


def system_prompt(profile: Profile, model_key: str) -> str | None:
    """What goes before conversations that bring no system message."""
    return _preset(profile, model_key).system_prompt


def prewarm(profile: Profile, model_key: str) -> tuple[str, ...]:
    """The system prompts to compute when the model is loaded; presets without one have none."""
    presets = (profile.presets[name] for name in profile.models[model_key].prewarm)
    return tuple(preset.system_prompt for preset in presets if preset.system_prompt)


def _preset(profile: Profile, model_key: str) -> Preset:
    name = profile.models[model_key].preset
    return Preset() if name is None else profile.presets[name]
