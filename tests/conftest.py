"""What every test shares: which files begin, and reports that can travel from the process that ran
a test."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

_TESTS = Path(__file__).parent
_STARTING_PROCESSES = {"server", "runtime", "examples", "tools", "reconcile", "engines"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start processes come first: they take longest, and each is run by one of several
    processes, which should come to their ends together."""
    items.sort(key=lambda it: it.path.relative_to(_TESTS).parts[0] not in _STARTING_PROCESSES)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Surrogates that a test logs are escaped: reports are sent as UTF-8, which has none."""
    report = yield
    report.sections = [(title, _escape(text)) for title, text in report.sections]
    return report


def _escape(text: Any) -> str:
    return str(text).encode(errors="backslashreplace").decode()
