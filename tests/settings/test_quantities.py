"""Durations and sizes with their units."""

from __future__ import annotations

import pytest

from lmrun.settings.quantities import (
    format_limit,
    format_size,
    parse_duration,
    parse_limit,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10.0), ("1.5m", 90.0), ("2h", 7200.0), ("1d", 86400.0), ("0s", 0.0)],
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1B", 1),
        ("1kB", 1000),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("1.5MiB", 1_572_864),
        ("2GB", 2 * 10**9),
        ("1GiB", 2**30),
    ],
)
def test_a_size_is_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "value",
    ["10", "s", "-1s", "1 s", "1e3s", "1S", "\u0661s", "", "1s\n", "9" * 400 + "s", 10, None],
)
def test_what_is_no_duration_is_refused_with_examples(value: object) -> None:
    with pytest.raises(ValueError, match="like 500ms, 10s, 5m, 1h or 2d"):
        parse_duration(value)


@pytest.mark.parametrize(
    "value", ["10", "MiB", "-1B", "1 MiB", "1mib", "1M", "1Gi", "", "9" * 400 + "B", True, 1.5]
)
def test_what_is_no_size_is_refused_with_examples(value: object) -> None:
    with pytest.raises(ValueError, match="like 512kB, 32MiB or 4GB"):
        parse_size(value)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1, "1B"), (1024, "1KiB"), (1500, "1500B"), (32 * 2**20, "32MiB"), (2**31, "2GiB")],
)
def test_a_size_is_written_exactly_and_can_be_read_again(size: int, text: str) -> None:
    assert format_size(size) == text
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "limit"), [("80%", 0.8), ("100%", 1.0), ("12.5%", 0.125), ("4GiB", 4 * 2**30)]
)
def test_a_limit_is_a_share_or_a_size(text: str, limit: float | int) -> None:
    assert parse_limit(text) == limit
    assert type(parse_limit(text)) is type(limit)
    assert format_limit(limit) == text


@pytest.mark.parametrize("value", ["0%", "101%", "80", 80, 0.8, "-5%", "%", None, "80 %"])
def test_other_limits_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="share"):
        parse_limit(value)
