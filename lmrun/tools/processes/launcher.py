"""What stands between lmrun and a tool's process: it starts one program with limits, and ends
everything that came of it, wherever it went. It knows no tool, and nothing of lmrun.

A process of its own, once per program, that imports nothing but a little of Python's standard
library: it stands in the way of every call. `main` is given one end of a socketpair, the control.
It reads what to run (`program.py` writes it) and says `forked PID`, then `started` or `refused
ERRNO STEP`, in the end `ended STATUS REASON`. `K` on the control ends the program at once, and so
does the control's end: whoever started the launcher is gone then. `T` ends it politely; after `R`
it is not looked at whether the program keeps within its limits, until `W`.

Where the kernel can do it (Linux), orphans become the launcher's children, so that a program that
left its group and its session is found as well. Elsewhere only the group is ended.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import time

KILL, TERMINATE, WATCH, REST = b"K", b"T", b"W", b"R"
"""Orders."""

GRACE_S = 2.0
"""Between asking and insisting."""
_INSIST_S = 10.0
_FIRST_LOOK_S = 0.1
_LOOKS_COST = 0.05
"""The share of a core that looking may take."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

# Places in /proc/PID/stat behind the name, see proc_pid_stat(5).
_STATE, _PARENT, _GROUP, _THREADS = 0, 1, 2, 17
_TIMES = (11, 12, 13, 14)
"""Of its own and of its children that have ended, for the program and for the system."""


class Order:
    """What is to be run, and within which limits; None: without. `cpu`: seconds of processor time
    of all processes together; `processes`: of these and their threads, at a time. `executable`: a
    file, or a name that is looked for on the PATH."""

    def __init__(self, fields: list[bytes]) -> None:
        cpu, memory, file_size, processes, fds, self.directory, executable, count, *rest = fields
        self.cpu = float(cpu) if cpu else None
        self.memory = int(memory) if memory else None
        self.file_size = int(file_size) if file_size else None
        self.processes = int(processes) if processes else None
        self.fds = [int(fd) for fd in fds.split()]
        self.argv = rest[: int(count)]
        self.executable = executable or self.argv[0]
        self.environment = dict(pair.split(b"=", 1) for pair in rest[int(count) :])


class Keeper:
    """Waits for the program and for orders; ends what is to be ended."""

    def __init__(self, control: int, order: Order, pid: int, wake: int) -> None:
        self._control = control
        self._order = order
        self._pid = pid
        self._status: int | None = None
        self._reason = "-"
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._poll.register(wake, select.POLLIN)
        self._wake = wake
        self._kill_at: float | None = None
        self._look_at: float | None = time.monotonic() + _FIRST_LOOK_S
        self._is_listening = True

    def run(self) -> None:
        """Until nothing of the program is left."""
        while self._reap():
            if self._status is not None and self._kill_at is None:
                self._kill_at = time.monotonic()  # what it left behind ends with it
            self._look()
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._kill_all()
                break
            self._wait()
        _say(self._control, f"ended {self._status} {self._reason}")

    def _wait(self) -> None:
        dues = [due for due in (self._look_at, self._kill_at) if due is not None]
        left_ms = max(0.0, min(dues) - time.monotonic()) * 1000 + 1 if dues else None
        for fd, _ in self._poll.poll(left_ms):
            if fd == self._wake:
                os.read(fd, 4096)
            elif self._is_listening:
                self._obey(_read_some(fd))

    def _obey(self, orders: bytes) -> None:
        now = time.monotonic()
        for order in map(chr, orders or KILL):
            if order == "K":
                self._kill_at = now
            elif order == "T" and self._kill_at is None:
                self._kill_at = now + GRACE_S
                self._signal_all(signal.SIGTERM)
            elif order in "WR":
                self._look_at = now + _FIRST_LOOK_S if order == "W" else None
        if not orders:
            self._is_listening = False
            self._poll.unregister(self._control)

    def _reap(self) -> bool:
        """Whether there is anything left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._pid:
                self._status = os.waitstatus_to_exitcode(status)

    def _look(self) -> None:
        """Whether it uses more than it may. Looking costs more the more processes there are."""
        begin = time.monotonic()
        if self._look_at is None or begin < self._look_at:
            return
        if self._order.cpu is not None or self._order.processes is not None:
            self._judge(_descendants())
        cost = time.monotonic() - begin
        self._look_at = begin + max(_FIRST_LOOK_S, cost / _LOOKS_COST)

    def _judge(self, living: dict[int, list[bytes]]) -> None:
        threads = sum(int(stat[_THREADS]) for stat in living.values())
        if self._order.processes is not None and threads > self._order.processes:
            self._end_for("processes")
        ticks = sum(int(stat[place]) for stat in living.values() for place in _TIMES)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = ticks / os.sysconf("SC_CLK_TCK") + ended.ru_utime + ended.ru_stime
        if self._order.cpu is not None and used > self._order.cpu:
            self._end_for("cpu")

    def _end_for(self, reason: str) -> None:
        self._reason = reason
        self._kill_at = time.monotonic()

    def _signal_all(self, number: int) -> None:
        living = _descendants()
        # The group at one stroke: nobody can fork away from that. Its number is nobody else's as
        # long as somebody is in it.
        if self._status is None or any(int(it[_GROUP]) == self._pid for it in living.values()):
            _kill(-self._pid, number)
        for pid, stat in living.items():
            if stat[_STATE] != b"Z" and int(stat[_GROUP]) != self._pid:
                _kill(pid, number)

    def _kill_all(self) -> None:
        """Until nothing is left: whoever is orphaned meanwhile becomes a child, and is killed."""
        deadline = time.monotonic() + _INSIST_S
        if sys.platform != "linux" and self._status is not None:
            _kill(-self._pid, signal.SIGKILL)  # it cannot be seen whether anybody is there
        while True:
            self._signal_all(signal.SIGKILL)
            if not self._reap() or time.monotonic() > deadline:
                return
            self._poll.poll(5)
            _drain(self._wake)


def main(control: int) -> None:
    """Run what the control says."""
    os.set_inheritable(control, False)
    order = _read_order(control)
    if order is None:
        return
    _become_reaper()
    wake = _watch_children()
    reading, writing = os.pipe()
    waiting, going = os.pipe()
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(going)
        os.read(waiting, 1)
        _become(order, writing, keeper)
    _put_in_own_group(pid)
    # Before the program can do anything: it might end the launcher.
    _say(control, f"forked {pid}")
    os.close(going)
    os.close(writing)
    # Only the program may hold what it was given: its end must be seen at the other side.
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for fd in order.fds:
        os.close(fd)
    refusal = os.read(reading, 4096)
    if refusal:
        os.waitpid(pid, 0)
        _say(control, f"refused {refusal.decode()}")
        return
    _say(control, "started")
    Keeper(control, order, pid, wake).run()


def _become(order: Order, report: int, keeper: int) -> None:
    """The child's part: never returns. What goes wrong is reported."""
    step = "limits"
    try:
        _restore_signals()
        _put_in_own_group(0)
        _die_with_parent()
        if os.getppid() != keeper:
            os._exit(127)  # it ended just before: nobody would send the signal any more
        _limit(order)
        for fd in order.fds:
            os.set_inheritable(fd, True)
        step = "directory"
        os.chdir(order.directory)
        step = "program"
        os.execvpe(order.executable, order.argv, order.environment)
    except OSError as error:
        os.write(report, f"{error.errno} {step}".encode())
    finally:
        os._exit(127)


def _restore_signals() -> None:
    """As a program expects them, whatever the server or Python has made of them."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _limit(order: Order) -> None:
    _set_limit(resource.RLIMIT_CORE, 0)
    if order.cpu is not None:
        _set_limit(resource.RLIMIT_CPU, int(order.cpu) + 1)
    if order.memory is not None and sys.platform == "linux":
        _set_limit(resource.RLIMIT_AS, order.memory)
    if order.file_size is not None:
        _set_limit(resource.RLIMIT_FSIZE, order.file_size)


def _set_limit(kind: int, value: int) -> None:
    """Never more than what the launcher has itself."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    # A second more until it is killed: the first signal names the reason.
    insists = value + 1 if kind == resource.RLIMIT_CPU else value
    resource.setrlimit(kind, (value, insists if hard == resource.RLIM_INFINITY else hard))


def _put_in_own_group(pid: int) -> None:
    # By both sides, so that neither has to wait for the other.
    try:
        os.setpgid(pid, 0)
    except OSError:
        if pid == 0:
            raise


def _become_reaper() -> None:
    _control_process(_PR_SET_CHILD_SUBREAPER, 1)


def _die_with_parent() -> None:
    """A launcher that is killed cannot end anything any more."""
    _control_process(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _control_process(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _watch_children() -> int:
    """What becomes readable when a child ends."""
    reading, writing = os.pipe()
    for fd in (reading, writing):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return reading


def _descendants() -> dict[int, list[bytes]]:
    """Every process below this one, with its /proc/PID/stat behind the name; none without /proc."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return {}
    stats: dict[int, list[bytes]] = {}
    children: dict[int, list[int]] = {}
    for name in names:
        if name.isdigit():
            try:
                fd = os.open(f"/proc/{name}/stat", os.O_RDONLY)
            except OSError:
                continue
            try:
                stat = os.read(fd, 1024).rpartition(b")")[2].split()
            except OSError:
                continue
            finally:
                os.close(fd)
            if len(stat) > _THREADS:
                stats[int(name)] = stat
                children.setdefault(int(stat[_PARENT]), []).append(int(name))
    found: dict[int, list[bytes]] = {}
    below = list(children.get(os.getpid(), []))
    while below:
        pid = below.pop()
        found[pid] = stats[pid]
        below += children.get(pid, [])
    return found


def _kill(pid: int, number: int) -> None:
    try:  # noqa: SIM105  contextlib takes milliseconds to import
        os.kill(pid, number)
    except OSError:
        pass


def _read_order(control: int) -> Order | None:
    """None when nobody is there any more."""
    header = _read_exactly(control, 4)
    body = _read_exactly(control, int.from_bytes(header, "big")) if header else b""
    return Order(body.split(b"\0")) if body else None


def _read_exactly(fd: int, count: int) -> bytes:
    """Empty when it ends before."""
    data = b""
    while len(data) < count:
        piece = _read_some(fd, count - len(data))
        if not piece:
            return b""
        data += piece
    return data


def _read_some(fd: int, count: int = 64) -> bytes:
    """Empty at the end, however it came."""
    try:
        return os.read(fd, count)
    except OSError:
        return b""


def _drain(fd: int) -> None:
    try:  # noqa: SIM105
        os.read(fd, 4096)
    except BlockingIOError:
        pass


def _say(control: int, line: str) -> None:
    try:  # noqa: SIM105
        os.write(control, line.encode() + b"\n")
    except OSError:
        pass  # nobody is there to hear it
