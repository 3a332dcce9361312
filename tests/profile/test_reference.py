"""docs/profile.md says what the types say."""

from __future__ import annotations

from lmrun.profile.reference import REFERENCE_PATH, render
from lmrun.profile.schema import ModelConfig, Profile, ServerConfig
from lmrun.settings.load import LoadConfig
from lmrun.settings.prediction import PredictionConfig


def test_the_committed_reference_is_what_the_types_say() -> None:
    assert REFERENCE_PATH.read_text(encoding="utf-8") == render(), "run `make schemas`"


def test_every_field_has_its_row() -> None:
    text = render()
    models = (Profile, ServerConfig, ModelConfig, LoadConfig, PredictionConfig)

    missing = [
        name for model in models for name in model.model_fields if f"| `{name}` |" not in text
    ]

    assert missing == []
