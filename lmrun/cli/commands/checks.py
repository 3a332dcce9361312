"""`lmrun check`: ask what the profile's checks ask, judge the answers, report.

It decides where to ask: a running server that has the profile applied, else one of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from lmrun.checks.goldens import locate_golden, write_golden
from lmrun.checks.judging import wants_golden
from lmrun.checks.junit import encode_junit
from lmrun.checks.running import choose_checks, judge_observed
from lmrun.checks.values import CheckEvent, CheckObserved, CheckResult, ChecksEnded
from lmrun.cli.client import Control
from lmrun.cli.commands.check_results import encode_results, render_result, render_totals
from lmrun.cli.commands.profiles import locate_profile, read_environment, shorten_path
from lmrun.cli.failures import EXPECTED, closest
from lmrun.cli.temporary_server import temporary_server
from lmrun.cli.terminal import Terminal, paint
from lmrun.errors import LmrunError, ServerUnreachable
from lmrun.profile.loader import LoadedProfile, load_profile
from lmrun.settings.check import Check
from lmrun.store.atomic import write_atomic
from lmrun.store.generations import Generations
from lmrun.store.home import Home

_REPORT_MODE = 0o644


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the command runs."""

    terminal: Terminal
    home: Home
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for. `names`: of checks; none means all."""

    names: tuple[str, ...] = ()
    profile: Path | None = None
    junit: Path | None = None
    update: bool = False
    as_json: bool = False


class UnknownCheck(LmrunError):
    """A name of the command line that is no check: wrong usage."""

    code = "unknown_check"


def check(wish: Wish, around: Surroundings) -> int:
    """Ask, judge and report; the exit code: 0 when every check passed, else 1.

    Raises UnknownCheck, ProfileInvalid, and LmrunError when nothing can be asked.
    """
    file = find_profile(wish.profile, around.home, "lmrun check")
    loaded = load_profile(file, around.environment)
    chosen = choose(loaded, wish.names)
    values = read_environment(file, around.environment)
    with _choose_server(loaded, chosen, values, around) as (control, place):
        results = []
        for result in _ask_all(control, loaded, chosen, values):
            results.append(_update(loaded, result) if wish.update else result)
            if not wish.as_json:
                around.terminal.show(render_result(results[-1]))
    _report(wish, results, loaded, place, around.terminal)
    return 0 if all(result.status == "passed" for result in results) else EXPECTED


def choose(loaded: LoadedProfile, names: Sequence[str]) -> Mapping[str, Check]:
    """The checks that are meant. Raises UnknownCheck, and LmrunError when there are none."""
    checks = loaded.profile.checks
    if not checks:
        raise LmrunError(
            f"{shorten_path(str(loaded.root))} has no checks.",
            hint="Write some into its section `checks`; docs/profile.md has the fields.",
        )
    for name in names:
        if name not in checks:
            match = closest(name, checks)
            known = f"There are: {', '.join(checks)}."
            raise UnknownCheck(
                f"No check is called {name}.", hint=f"Did you mean {match}?" if match else known
            )
    return choose_checks(loaded, set(names) or None)


def find_profile(path: Path | None, home: Home, command: str) -> Path:
    """The profile named, else the one that was applied last to this home."""
    if path is not None:
        return locate_profile(path)
    newest = _read_newest(home)
    if newest is None:
        raise LmrunError(
            "No profile was applied here.", hint=f"Name one: `{command} --profile FILE`."
        )
    return locate_profile(newest)


def _read_newest(home: Home) -> Path | None:
    if not home.database.exists():
        return None
    with closing(Generations(home.database)) as generations:
        newest = generations.newest()
    return Path(newest.root) if newest is not None else None


@contextmanager
def _choose_server(
    loaded: LoadedProfile,
    chosen: Mapping[str, Check],
    values: Mapping[str, str],
    around: Surroundings,
) -> Iterator[tuple[Control, str]]:
    """The server to ask, and what it is called in reports."""
    control = Control(around.home.control_socket)
    if control.is_listening() and control.plan(loaded.root, values).is_empty:
        address = control.status().server.address or "which does not listen"
        around.terminal.tell(paint(f"Asking the running server, {address}.", "dim"))
        yield control, "running"
        return
    note = "Asking a temporary server: none runs that has this profile applied."
    around.terminal.tell(paint(note, "dim"))
    unused = find_unused_models(loaded, chosen)
    with temporary_server(
        loaded.root, unused, values, home=around.home, environment=around.environment
    ) as own:
        yield own, "temporary"


def find_unused_models(loaded: LoadedProfile, chosen: Mapping[str, Check]) -> frozenset[str]:
    """The keys of models that none of the checks asks."""
    wanted = {check.model for check in chosen.values()}
    return frozenset(
        key
        for key, model in loaded.profile.models.items()
        if not wanted & {key, model.identifier, *(it.identifier for it in model.instances)}
    )


def _ask_all(
    control: Control,
    loaded: LoadedProfile,
    chosen: Mapping[str, Check],
    values: Mapping[str, str],
) -> Iterator[CheckResult]:
    with closing(control.check(loaded.root, values, chosen)) as events:
        for data in events:
            event = msgspec.json.decode(data, type=CheckEvent)
            if isinstance(event, CheckObserved):
                yield judge_observed(loaded, event.name, event.observation)
            if isinstance(event, ChecksEnded):
                return
    raise ServerUnreachable(
        "The server closed the connection before all checks were asked.",
        hint="`lmrun status` shows whether it runs.",
    )


def _update(loaded: LoadedProfile, result: CheckResult) -> CheckResult:
    """The result, passed once its golden file is written where that is all it lacks."""
    reply, check = result.reply, loaded.profile.checks[result.name]
    if reply is None or reply.fingerprint is None or not wants_golden(check, result):
        return result
    file = locate_golden(loaded, result.name)
    assert file is not None, "wanted"
    write_golden(file, reply.fingerprint, reply.answer)
    message = f"The golden answer was written to {shorten_path(str(file))}."
    return msgspec.structs.replace(result, status="passed", failures=(), message=message)


def _report(
    wish: Wish,
    results: Sequence[CheckResult],
    loaded: LoadedProfile,
    place: str,
    terminal: Terminal,
) -> None:
    if wish.junit is not None:
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
        report = encode_junit(results, os.path.basename(loaded.root), now)
        write_atomic(Path(os.path.abspath(wish.junit)), report, mode=_REPORT_MODE)
    if wish.as_json:
        terminal.show(encode_results(results, place))
    else:
        terminal.show(render_totals(results))
