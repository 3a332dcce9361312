"""The committed JSON schema: up to date, closed, and open to references."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lmrun.profile import schemas
from lmrun.profile.shape import Shape, profile_shape


def test_the_committed_schema_is_what_the_types_say() -> None:
    assert schemas.SCHEMA_PATH.read_text(encoding="utf-8") == schemas.render(), (
        "run: python -m lmrun.profile.schemas"
    )


def test_the_check_names_a_schema_that_drifted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schemas, "SCHEMA_PATH", tmp_path / "profile.schema.json")
    assert schemas.main(["--check"]) == 1
    assert "python -m lmrun.profile.schemas" in capsys.readouterr().out
    assert schemas.main([]) == 0
    assert schemas.main(["--check"]) == 0
    schemas.SCHEMA_PATH.write_text("{}")
    assert schemas.main(["--check"]) == 1


def test_an_unknown_argument_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert schemas.main(["--chekc"]) == 2
    assert "usage" in capsys.readouterr().err


def test_every_object_of_the_schema_is_closed() -> None:
    objects = [part for part in walk(schemas.json_schema()) if part.get("type") == "object"]
    assert len(objects) > 8
    assert all("additionalProperties" in part for part in objects)


def test_numbers_and_choices_may_be_references_and_secrets_must_be() -> None:
    definitions = schemas.json_schema()["$defs"]
    reference = {"$ref": "#/$defs/Reference"}
    assert reference in definitions["ServerConfig"]["properties"]["port"]["anyOf"]
    assert reference in definitions["ModelConfig"]["properties"]["state"]["anyOf"]
    assert definitions["ApiKey"]["properties"]["key"]["pattern"].startswith("^\\$\\{(env:")


def test_every_setting_has_a_description() -> None:
    assert [path for path, shape in fields_of(profile_shape()) if not shape.description] == []


def walk(part: Any) -> list[dict[str, Any]]:
    if isinstance(part, list):
        return [found for item in part for found in walk(item)]
    if not isinstance(part, dict):
        return []
    return [part, *(found for value in part.values() for found in walk(value))]


def fields_of(shape: Shape, prefix: str = "") -> list[tuple[str, Shape]]:
    found: list[tuple[str, Shape]] = []
    for name, child in shape.fields.items():
        path = f"{prefix}{name}"
        found += [(path, child), *fields_of(child, f"{path}.")]
        if child.each:
            found += fields_of(child.each, f"{path}.*.")
    return found


def test_the_schema_is_json_that_editors_can_read() -> None:
    text = schemas.SCHEMA_PATH.read_text(encoding="utf-8")
    assert json.loads(text)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
