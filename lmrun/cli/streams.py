"""The standard streams of this process, whatever the caller made of them. It knows no command."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lmrun.errors import LmrunError


class OutputLost(LmrunError):
    """Stdout takes nothing more: a full disk, for example. No bug of ours."""

    code = "output_lost"


class Output(io.TextIOWrapper):
    """Stdout that raises OutputLost where a file raises OSError, whoever writes to it."""

    def write(self, text: str, /) -> int:
        with _losing():
            return super().write(text)

    def flush(self) -> None:
        with _losing():
            super().flush()


@contextmanager
def _losing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        # The reader has left, which is its right: not the failure of a disk.
        raise
    except OSError as error:
        raise OutputLost(f"cannot write the output: {error.strerror or error}") from error


def prepare_streams() -> None:
    """Make stdin, stdout and stderr usable, also where the caller has closed them (`>&-`)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, _open_nothing(mode))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = _wrap(sys.stdout)


def _open_nothing(mode: str) -> io.TextIOWrapper:
    """/dev/null at the lowest free descriptor, which is the closed one: no socket may get it."""
    flags = os.O_RDONLY if mode == "r" else os.O_WRONLY
    descriptor = os.open(os.devnull, flags)
    os.set_inheritable(descriptor, True)
    return io.TextIOWrapper(open(descriptor, f"{mode}b"), encoding="utf-8", errors="replace")


def _wrap(stdout: io.TextIOWrapper) -> Output:
    encoding, line_buffering = stdout.encoding, stdout.line_buffering
    # A terminal that cannot show a character shows a question mark, not a traceback.
    return Output(
        stdout.detach(), encoding=encoding, errors="replace", line_buffering=line_buffering
    )
