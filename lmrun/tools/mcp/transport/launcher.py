"""The first moments of an MCP server's process: it sees to it that it ends with lmrun, then becomes
the server. Run by its path, with the parent's process id, a program and all of its arguments; it
knows nothing of lmrun and imports nothing of it."""

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_CANNOT_EXECUTE = 127


def _launch(parent: int, program: str, argv: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Whoever ended before the line above can send no signal any more.
    if os.getppid() != parent:
        os._exit(0)
    # Python ignores these; a program that is started expects them as they were.
    for name in ("SIGPIPE", "SIGXFSZ"):
        with contextlib.suppress(AttributeError, ValueError):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execv(program, argv)
    except OSError as error:
        print(f"{program}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(_CANNOT_EXECUTE)


if __name__ == "__main__":
    _launch(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
