"""Running native code that recurses: on a thread of its own, with a stack that is deep enough.

llguidance reads a chain of `$ref` recursively: 500 of them overflow the usual 8 MiB and end the
process, 2,000 need about 24 MiB.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

STACK_BYTES = 128 * 2**20
"""Only what is used of it takes memory."""

ResultT = TypeVar("ResultT")
_lock = threading.Lock()


def run_deep(function: Callable[[], ResultT]) -> ResultT:
    """What `function` returns or raises, called on another thread while this one waits."""
    future: Future[ResultT] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    with _lock:
        before = threading.stack_size(STACK_BYTES)
        try:
            thread = threading.Thread(target=run, name="constraint")
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    return future.result()
