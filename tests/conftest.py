"""What every test shares: reports that can travel from the process that ran a test."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Surrogates that a test logs are escaped: reports are sent as UTF-8, which has none."""
    report = yield
    report.sections = [(title, _escape(text)) for title, text in report.sections]
    return report


def _escape(text: Any) -> str:
    return str(text).encode(errors="backslashreplace").decode()
