"""Secrets: they compare, and never show themselves."""

from __future__ import annotations

import json
import pickle

import pytest
from pydantic import TypeAdapter, ValidationError

from lmrun.settings.secret import Secret

VALUE = "correct horse"


def test_a_secret_matches_only_its_value() -> None:
    secret = Secret(VALUE)
    assert secret.matches(VALUE)
    assert not secret.matches(VALUE + " ")
    assert not secret.matches("")
    assert not secret.matches("\udcff")


def test_secrets_of_one_value_are_equal() -> None:
    assert Secret(VALUE) == Secret(VALUE)
    assert hash(Secret(VALUE)) == hash(Secret(VALUE))
    assert Secret(VALUE) != Secret("other")
    assert Secret(VALUE) != VALUE


def test_a_secret_shows_stars() -> None:
    secret = Secret(VALUE)
    assert str(secret) == repr(secret) == f"{secret}" == "Secret(***)"
    assert TypeAdapter(Secret).dump_json(secret) == b'"***"'


def test_a_secret_holds_no_value_and_only_its_length() -> None:
    secret = Secret(VALUE)
    assert secret.length == len(VALUE)
    assert VALUE.encode() not in pickle.dumps([secret._digest, secret.length])
    assert not hasattr(secret, "__dict__")


def test_a_secret_is_no_json() -> None:
    with pytest.raises(TypeError):
        json.dumps(Secret(VALUE))


@pytest.mark.parametrize("value", [VALUE, 1, None, [VALUE]])
def test_anything_but_a_resolved_secret_is_refused_without_being_shown(value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Secret).validate_python(value)
    (error,) = caught.value.errors(include_input=False)
    assert "must be a reference" in error["msg"]
    assert VALUE not in error["msg"]
