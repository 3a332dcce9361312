"""The worker process: `python -m lmrun.worker FD`, FD being its end of a socketpair.

Three threads: this one owns the engine and steps, one reads frames, one prepares prompts. The
process ends at once when the socket closes, even in the middle of a step.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback
from queue import SimpleQueue
from types import TracebackType

from lmrun.errors import LmrunError
from lmrun.worker import hygiene
from lmrun.worker.connection import Connection
from lmrun.worker.frames import (
    Cancel,
    Detokenize,
    Embed,
    Generate,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Render,
    Score,
    Tokenize,
    ToWorker,
)
from lmrun.worker.loading import describe, load_model, read_override
from lmrun.worker.preparer import Preparer
from lmrun.worker.prompts import PromptMaker, make_renderer
from lmrun.worker.step_loop import Accepted, Command, StepLoop
from lmrun.worker.wire_errors import to_wire

EXIT_SOFTWARE = 70
EXIT_PROTOCOL = 76
_CLOSE_TIMEOUT_S = 2.0


def main(fd: int) -> int:
    """Load the model that the first frame names, then generate until told to close."""
    prepare_process(fd)
    connection = Connection(socket.socket(fileno=fd))
    load = _read(connection)
    if not isinstance(load, Load):
        return _complain(f"the first frame is {type(load).__name__}, not Load")
    inbox: SimpleQueue[Command] = SimpleQueue()
    reader = _Reader(connection, inbox)
    reader.start()
    try:
        override = read_override(load)
        model = load_model(load, lambda fraction: connection.write(LoadProgress(fraction)))
        info = describe(model.info, override)
    except LmrunError as error:
        connection.write(LoadFailed(to_wire(error)))
        return 0
    stop_strings = override.stop_strings if override else ()
    prompts = PromptMaker(model, make_renderer(info), stop_strings)
    preparer = Preparer(model, prompts, inbox.put, load.prewarm)
    preparer.start()
    reader.serve(preparer)
    connection.write(Loaded(info))
    StepLoop(model, inbox, connection.write).run()
    preparer.close(_CLOSE_TIMEOUT_S)
    model.close()
    return 0


def prepare_process(fd: int) -> None:
    """Make this a well-behaved child. `fd` must not reach the processes it starts."""
    hygiene.die_with_parent()
    hygiene.refuse_core_dumps()
    hygiene.be_killed_first()
    os.set_inheritable(fd, False)


class _Reader:
    """The thread that reads frames, so that a cancel is seen whatever else goes on."""

    def __init__(self, connection: Connection, inbox: SimpleQueue[Command]) -> None:
        self._connection = connection
        self._inbox = inbox
        self._preparer: Preparer | None = None
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def serve(self, preparer: Preparer) -> None:
        """From now on sequences are taken."""
        self._preparer = preparer

    def _run(self) -> None:
        while True:
            self._pass_on(_read(self._connection))

    def _pass_on(self, frame: ToWorker) -> None:
        match frame:
            case Load():
                os._exit(_complain("a second Load"))
            case Generate() | Embed() | Score() | Tokenize() | Detokenize() | Render():
                self._inbox.put(Accepted(frame.id))
                self._require_preparer().submit(frame)
            case Cancel():
                self._require_preparer().cancel(frame.id)
                self._inbox.put(frame)
            case _:
                self._inbox.put(frame)

    def _require_preparer(self) -> Preparer:
        if self._preparer is None:
            os._exit(_complain("a sequence before Loaded"))
        return self._preparer


def _read(connection: Connection) -> ToWorker:
    """The next frame. Ends the process when there is none, or one that does not fit."""
    try:
        frame = connection.read()
    except ValueError as error:
        os._exit(_complain(str(error)))
    if frame is None:
        os._exit(0)
    return frame


def _complain(message: str) -> int:
    print(f"lmrun.worker: protocol: {message}", file=sys.stderr, flush=True)
    return EXIT_PROTOCOL


def _end_on_bug(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    """A thread that died would leave a worker that answers nothing: end the process instead."""
    traceback.print_exception(kind, error, trace)
    sys.stderr.flush()
    os._exit(EXIT_SOFTWARE)


def _run(fd: int) -> None:
    threading.excepthook = lambda given: _end_on_bug(
        given.exc_type, given.exc_value, given.exc_traceback
    )
    try:
        code = main(fd)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)
    except BaseException as error:  # the outermost boundary of the process
        _end_on_bug(type(error), error, error.__traceback__)
    # Not sys.exit: native libraries may crash while they are torn down.
    os._exit(code)


if __name__ == "__main__":
    _run(int(sys.argv[1]))
