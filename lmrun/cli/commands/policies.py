"""`lmrun policy`: judge cases, list and take back what was agreed to. It knows no rule."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from lmrun.cli.commands.checks import find_profile
from lmrun.cli.commands.profiles import encode_problems, render_problems, shorten_path
from lmrun.cli.failures import EXPECTED, count
from lmrun.cli.terminal import Terminal, align, paint, printable
from lmrun.profile.loader import load_profile
from lmrun.profile.tooling.cases import read_cases
from lmrun.store.approvals import Approvals
from lmrun.store.home import Home
from lmrun.tools.policy.cases import JudgedCase, judge_cases
from lmrun.tools.policy.rules import Ruling


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for."""

    cases: Path
    profile: Path | None = None
    as_json: bool = False


def test(wish: Wish, *, terminal: Terminal, home: Home, environment: Mapping[str, str]) -> int:
    """Judge, and show what is judged otherwise than expected; the exit code: 0 when nothing is.

    Raises ProfileInvalid, and LmrunError when there is no profile.
    """
    loaded = load_profile(find_profile(wish.profile, home, "lmrun policy test"), environment)
    cases, problems = read_cases(Path(os.path.abspath(wish.cases)), loaded.profile)
    if problems:
        terminal.show(encode_problems(problems) if wish.as_json else render_problems(problems))
        found = count(len(problems), "problem")
        terminal.tell(f"{paint('Error:', 'bad')} {found} in {wish.cases}.")
        return EXPECTED
    judged = judge_cases(cases, loaded)
    wrong = [it for it in judged if not it.has_passed]
    if wish.as_json:
        terminal.show(_encode([_to_data(it) for it in judged], "cases"))
        return EXPECTED if wrong else 0
    for line in _render(wrong, shorten_path(os.path.abspath(wish.cases))):
        terminal.show(line)
    head = paint(count(len(judged), "case") + ":", "strong")
    failed = f", {len(wrong)} failed" if wrong else ""
    terminal.show(f"{head} {len(judged) - len(wrong)} passed{failed}.")
    return EXPECTED if wrong else 0


def remembered(*, as_json: bool, terminal: Terminal, home: Home) -> None:
    """Every call that was always agreed to, the newest first."""
    with closing(_open(home)) as approvals:
        found = approvals.list()
    if as_json:
        terminal.show(_encode([asdict(it) for it in found], "approvals"))
        return
    if not found:
        terminal.show("Nobody has agreed to a call for good.")
        return
    rows = [
        (printable(it.tool), f"arguments {it.arguments[:12]}", printable(shorten_path(it.profile)))
        for it in found
    ]
    for line in align(rows):
        terminal.show(line)


def forget(tool: str | None, *, terminal: Terminal, home: Home) -> None:
    """Have all calls asked about again, or those of one tool."""
    with closing(_open(home)) as approvals:
        number = approvals.forget(tool=tool)
    terminal.show(f"{count(number, 'agreement')} forgotten.")


def _open(home: Home) -> Approvals:
    home.ensure()
    return Approvals(home.approvals)


def _render(wrong: Sequence[JudgedCase], file: str) -> list[str]:
    rows = [
        (
            f"{paint('✗', 'bad')} {printable(file)}:{it.placed.line}",
            printable(it.placed.case.tool),
            f"expected {it.placed.case.expect}, is {it.ruling.decision}",
            _explain(it.ruling),
        )
        for it in wrong
    ]
    return align(rows)


def _explain(ruling: Ruling) -> str:
    """Which rule, and why."""
    place = "" if ruling.rule is None else f"policy.rules[{ruling.rule}]"
    reason = printable(ruling.reason)
    if place and reason:
        return reason if place in reason else f"{place}: {reason}"
    return place or reason or "the tool's own policy"


def _to_data(judged: JudgedCase) -> dict[str, Any]:
    case, ruling = judged.placed.case, judged.ruling
    return {
        "line": judged.placed.line,
        "tool": case.tool,
        "expect": case.expect,
        "decision": ruling.decision,
        "rule": ruling.rule,
        "reason": ruling.reason or None,
        "passed": judged.has_passed,
    }


def _encode(items: Sequence[Mapping[str, Any]], name: str) -> str:
    return msgspec.json.format(msgspec.json.encode({name: items}), indent=2).decode()
