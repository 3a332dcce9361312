"""All of it in one process: ask, read the golden files, judge. For who has the models at hand."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from lmrun.checks.goldens import locate_golden, read_golden
from lmrun.checks.judging import judge
from lmrun.checks.observing import observe
from lmrun.checks.values import Ask, CheckResult, Observation
from lmrun.errors import LmrunError
from lmrun.profile.loader import LoadedProfile
from lmrun.settings.check import Check


async def run_checks(
    loaded: LoadedProfile, ask: Ask, names: Collection[str] | None = None
) -> list[CheckResult]:
    """What came of the profile's checks, or of those called `names`, in the profile's order.

    Cancelling it stops the generations. Raises nothing for a check that fails.
    """
    return [
        await asyncio.to_thread(judge_observed, loaded, name, await observe(check, ask))
        for name, check in choose_checks(loaded, names).items()
    ]


async def find_objections(loaded: LoadedProfile, ask: Ask) -> tuple[str, ...]:
    """What the profile's checks say against it, for a gate: one text for each that failed or was
    not answered. A golden answer of another fingerprint is no objection: it says nothing of this
    machine. Cancelling it stops the generations."""
    return tuple(
        _describe(result)
        for result in await run_checks(loaded, ask)
        if result.status in ("failed", "error")
    )


def _describe(result: CheckResult) -> str:
    reasons = [f"{it.expectation}: {it.message}" for it in result.failures]
    return f"{result.name}: {', '.join(reasons) or result.message}"


def choose_checks(loaded: LoadedProfile, names: Collection[str] | None) -> Mapping[str, Check]:
    """The profile's checks, or those called `names`."""
    checks = loaded.profile.checks
    return {name: check for name, check in checks.items() if names is None or name in names}


def judge_observed(loaded: LoadedProfile, name: str, observation: Observation) -> CheckResult:
    """What came of a check; its golden file is read for that."""
    check = loaded.profile.checks[name]
    try:
        file = locate_golden(loaded, name)
        golden = read_golden(file) if file is not None else {}
    except LmrunError as error:
        return CheckResult(name, check.model, "error", observation.seconds, message=str(error))
    return judge(name, check, observation, golden)
