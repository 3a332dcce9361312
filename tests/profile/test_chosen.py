"""Load settings given by hand are as strict as the profile's."""

from __future__ import annotations

import pytest

from lmrun.errors import InvalidParameter
from lmrun.profile.chosen import parse_chosen
from lmrun.settings.load import GpuConfig, LoadConfig


def test_settings_are_read_as_the_profile_reads_them() -> None:
    chosen = parse_chosen(
        {
            "load.context_length": "256",
            "load.flash_attention": "false",
            "load.gpu.ratio": "off",
            "load.gpu.split": "[1, 2.5]",
            "load.prefix_cache": "{ram: 16MiB}",
            "load.seed": "null",
        }
    )
    assert chosen.model_fields_set == {
        "context_length",
        "flash_attention",
        "gpu",
        "prefix_cache",
        "seed",
    }
    assert chosen.context_length == 256
    assert chosen.gpu == GpuConfig(ratio="off", split=(1.0, 2.5))
    assert chosen.prefix_cache.ram == 16 * 2**20
    assert parse_chosen({}) == LoadConfig()


def test_a_question_ends_as_a_question() -> None:
    with pytest.raises(InvalidParameter, match=r"did you mean `context_length`\?$"):
        parse_chosen({"load.context_lenght": "8"})


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("load.context_length", "many", "`load.context_length`: must be a whole number, not text"),
        ("load.context_length", "1", "`load.context_length`: must be at least 8"),
        ("load.context_lenght", "8", "unknown key; did you mean `context_length`?"),
        ("load.flash_attention", "yes", "`load.flash_attention`: must be true or false"),
        ("load.gpu.ratio", "all", "`load.gpu.ratio`: "),
        ("load.k_cache_type", "[", "is no YAML value"),
        ("load.k_cache_type", "f16\nother: 1", "is no YAML value"),
        ("load.seed", "", "is no YAML value"),
        ("load.seed", "# 7", "is no YAML value"),
        ("load.k_cache_type", "${env:HOME}", "references are for profiles only"),
        ("load.mmproj", "file:/etc/passwd", "names files, which only the profile does"),
        ("prediction.temperature", "1", "only load settings"),
        ("load", "{}", "only load settings"),
        ("load.", "1", "unknown key"),
        ("load.context_length.x", "1", "must be a whole number"),
    ],
)
def test_what_is_wrong_is_named_and_explained(field: str, text: str, message: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        parse_chosen({field: text})
    assert message in str(refused.value)
