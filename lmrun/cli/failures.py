"""The one place that decides how a failure ends the process. It knows no command.

0 done · 1 an expected failure: one line, one hint · 2 wrong usage · 130 interrupted · 3 a bug.
Where the command was asked for JSON, an expected failure is also one line of it, on stdout.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

from lmrun.cli.streams import OutputLost
from lmrun.cli.terminal import Terminal, paint, printable
from lmrun.errors import LmrunError, ProfileInvalid

EXPECTED = 1
INTERRUPTED = 130
BUG = 3


@dataclass(slots=True)
class Reporting:
    """How failures are shown. Known only once the command line is parsed."""

    with_traceback: bool = False
    as_json: bool = False

    def reset(self) -> None:
        """Forget the command line before."""
        self.with_traceback = self.as_json = False


def run(command: Callable[[], object], environment: Mapping[str, str], reporting: Reporting) -> int:
    """Run `command` to its end and return the exit code. Nothing passes through."""
    try:
        return _run_guarded(command, environment, reporting)
    finally:
        _close_streams()


def _run_guarded(
    command: Callable[[], object], environment: Mapping[str, str], reporting: Reporting
) -> int:
    try:
        command()
        return 0
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else EXPECTED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left (`lmrun status | head -1`): nobody to tell.
        return EXPECTED
    except LmrunError as error:
        _report_expected(error, Terminal.detect(environment), reporting)
        return EXPECTED
    except Exception as error:  # the outermost boundary: whatever comes here is a bug of ours
        _report_bug(error, Terminal.detect(environment), reporting)
        return BUG


def _report_expected(error: LmrunError, terminal: Terminal, reporting: Reporting) -> None:
    if reporting.with_traceback:
        traceback.print_exc()
    show_error(error, terminal)
    if reporting.as_json:
        # It may be stdout that failed.
        with contextlib.suppress(OutputLost, BrokenPipeError):
            terminal.show(encode_error(error))


def encode_error(error: LmrunError) -> str:
    """One line of JSON: `{"problems": […]}` for a profile, else `{"error": {type, …}}`."""
    # Not msgspec, which refuses file names that are no UTF-8.
    import json

    if isinstance(error, ProfileInvalid):
        return json.dumps({"problems": [asdict(problem) for problem in error.problems]})
    content = {"type": error.code, "message": error.message, "hint": error.hint}
    return json.dumps({"error": content})


def show_error(error: LmrunError, terminal: Terminal) -> None:
    """The error in one line and its hint in the next; a profile's problems one per line."""
    if isinstance(error, ProfileInvalid):
        from lmrun.cli.commands.profiles import render_problems

        terminal.tell(render_problems(error.problems))
        problems = count(len(error.problems), "problem")
        terminal.tell(f"{paint('Error:', 'bad')} {problems} in the profile; nothing was changed.")
        return
    terminal.tell(f"{paint('Error:', 'bad')} {printable(error.message)}")
    if error.hint:
        terminal.tell(f"{paint('Hint:', 'dim')} {printable(error.hint)}")


def _report_bug(error: Exception, terminal: Terminal, reporting: Reporting) -> None:
    if reporting.with_traceback:
        traceback.print_exc()
    summary = "".join(traceback.format_exception_only(error)).strip()
    terminal.tell(f"{paint('Bug in lmrun:', 'bad')} {printable(summary)}")
    if not reporting.with_traceback:
        with contextlib.suppress(OSError):
            terminal.tell(f"The traceback is in {_keep_traceback()}; `lmrun --debug …` shows it.")


def _keep_traceback() -> str:
    with tempfile.NamedTemporaryFile(
        "w", prefix="lmrun-bug-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(traceback.format_exc())
    return file.name


def _close_streams() -> None:
    """Flush now: left to the interpreter, what cannot be written would change the code to 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, OutputLost):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant; None when none is close."""
    names = {name.lower(): name for name in sorted(known)}
    match = difflib.get_close_matches(word.lower(), names, n=1)
    return names[match[0]] if match else None


def count(number: int, noun: str) -> str:
    """`1 problem`, `2 problems`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
