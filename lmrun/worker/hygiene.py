"""What a child process does to itself first: die with its parent, leave no core, be killed first.

It knows nothing of what the process is for. What a platform lacks is left out.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_OOM_SCORE_ADJ = 500


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends. Linux only; elsewhere EOF must do.

    The parent may have ended just before: then nobody would send the signal any more.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def refuse_core_dumps() -> None:
    """A core file would hold prompts, and writing one delays the report of a crash."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def be_killed_first() -> None:
    """When memory runs out, the kernel should take a worker, not the server."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE_ADJ))
