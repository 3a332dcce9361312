"""The process that functions run in: `python -m lmrun.tools.functions.child FD`, FD being its end
of a socketpair. It knows one module, and calls one function at a time.

What functions print goes to the standard streams, never into the protocol. The process ends when
the socket closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import math
import os
import resource
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from lmrun.tools.functions.describing import ArgumentsUnfit, Function, FunctionUnfit, to_text
from lmrun.tools.functions.frames import (
    Call,
    Described,
    Description,
    FrameReader,
    FromChild,
    Returned,
    Setup,
    ToChild,
    encode,
)
from lmrun.tools.functions.importing import ModuleUnfit, find_files, find_function, import_module
from lmrun.tools.output import clean_output

_READ_BYTES = 64 * 2**10
_TRACE_CHARACTERS = 16_000
_MESSAGE_BYTES = 8_000


def main(fd: int) -> None:
    """Import what the first frame says, then call until the other side closes."""
    end = socket.socket(fileno=fd)
    end.set_inheritable(False)
    reader: FrameReader[ToChild] = FrameReader(ToChild)
    functions: dict[str, Function] = {}
    # One loop for all calls: what async functions keep open is of the loop that it was made in.
    with asyncio.Runner() as runner:
        while data := end.recv(_READ_BYTES):
            for frame in reader.feed(data):
                answer: FromChild
                if isinstance(frame, Setup):
                    answer = _set_up(frame, functions)
                else:
                    answer = _call(functions[frame.key], frame, runner)
                _flush()
                end.sendall(encode(answer))


def _set_up(setup: Setup, functions: dict[str, Function]) -> Described:
    for name in setup.hidden:
        os.environ.pop(name, None)
    sys.argv = [""]
    directory = Path(setup.directory)
    try:
        module = import_module(setup.module, directory)
    except ModuleUnfit as error:
        faults = dict.fromkeys(setup.functions, str(error))
        return Described({}, faults, find_files(directory))
    faults = {}
    for key, name in setup.functions.items():
        try:
            functions[key] = Function.of(name, find_function(module, name))
        except (FunctionUnfit, ModuleUnfit) as error:
            faults[key] = str(error)
    described = {
        key: Description(function.description, json.dumps(function.parameters))
        for key, function in functions.items()
    }
    return Described(described, faults, find_files(directory))


def _call(function: Function, call: Call, runner: asyncio.Runner) -> Returned:
    _allow_cpu(call.cpu_s)
    try:
        arguments = function.read_arguments(json.loads(call.arguments))
        result = function.function(**arguments)
        if inspect.isawaitable(result):
            result = runner.run(_await(result))
        text = to_text(result)
    except ArgumentsUnfit as error:
        return _shorten(str(error), call, "invalid_arguments")
    except BaseException as error:  # a function may raise anything, SystemExit included
        message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return _shorten(message, call, "failed", _trace(error))
    return _shorten(text, call)


async def _await(result: Any) -> Any:
    return await result


def _shorten(
    text: str,
    call: Call,
    error: Any = None,
    trace: str | None = None,
) -> Returned:
    shortened, size = clean_output(text, call.max_output)
    return Returned(shortened, size, error, trace)


def _trace(error: BaseException) -> str:
    # Without the frame of this module, which says nothing.
    below = error.__traceback__.tb_next if error.__traceback__ else None
    text = "".join(traceback.format_exception(type(error), error, below))
    return text[-_TRACE_CHARACTERS:].encode("utf-8", "backslashreplace").decode("utf-8")


def _allow_cpu(seconds: float) -> None:
    """So much more than was used up to now; the kernel counts from the start of the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(used.ru_utime + used.ru_stime + seconds)
    soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # a function may have put anything in its place
            stream.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
