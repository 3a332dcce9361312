"""What only a real process shows: imports, pipes, signals, terminals, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lmrun.reconcile.outcome import (
    Action,
    ActionEnded,
    ActionProgress,
    ActionStarted,
    ApplyEnded,
    Outcome,
    Plan,
    Planned,
)
from tests.cli.conftest import COMMAND, Run
from tests.support.control import FakeServer
from tests.support.screen import Screen

HEAVY = (
    "lmrun.api lmrun.catalog lmrun.engines lmrun.process lmrun.profile lmrun.runtime "
    "lmrun.server lmrun.worker "
    "http.client jinja2 llama_cpp msgspec numpy rich.console starlette uvicorn watchfiles yaml"
)


def test_help_imports_neither_engines_nor_the_server_nor_anything_slow() -> None:
    program = (
        "import sys\n"
        "from lmrun.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        f"print('HEAVY', [m for m in {HEAVY!r}.split() if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30)

    assert done.stdout.decode().splitlines()[-1] == "HEAVY []"


def test_an_apply_without_changes_imports_no_typed_profile_and_no_bars(
    server: FakeServer, environment: dict[str, str], profile: Path
) -> None:
    program = (
        "import sys\n"
        "from lmrun.cli.main import app\n"
        f"try: app(['apply', {str(profile)!r}])\n"
        "except SystemExit: pass\n"
        "slow = ['lmrun.profile.schema', 'rich.progress', 'lmrun.server', 'httpx']\n"
        "print('SLOW', [m for m in slow if m in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=environment, timeout=30
    )

    assert done.stdout.decode().splitlines()[-2:] == [
        f"Converged: generation 3, {server.status.server.address}",
        "SLOW []",
    ]


def test_piped_input_is_appended_to_the_prompt(server: FakeServer, lmrun_process: Run) -> None:
    lmrun_process("chat", "Summarise:", stdin="Größe zählt.\n".encode())
    lmrun_process("chat", stdin=b"Only this.\n")

    asked = [body["messages"][0]["content"] for body in server.bodies("/v1/chat/completions")]
    assert asked == ["Summarise:\n\nGröße zählt.", "Only this."]


def test_piped_bytes_that_are_no_text_are_refused(server: FakeServer, lmrun_process: Run) -> None:
    result = lmrun_process("chat", "Read:", stdin=b"\xff\xfe\x00")

    assert (result.code, result.out) == (1, "")
    assert result.err.strip() == "Error: What was given or piped in is not text in UTF-8."


def test_a_reader_that_leaves_early_is_no_traceback(
    server: FakeServer, environment: dict[str, str]
) -> None:
    server.chat = ["line\n"] * 20_000

    done = subprocess.run(
        [
            "bash",
            "-c",
            f"{' '.join(COMMAND)} chat hi </dev/null | head -1; exit ${{PIPESTATUS[0]}}",
        ],
        capture_output=True,
        env=environment,
        timeout=30,
    )

    assert (done.returncode, done.stdout, done.stderr) == (1, b"line\n", b"")


def test_ctrl_c_stops_the_generation_and_exits_with_130(
    server: FakeServer, environment: dict[str, str]
) -> None:
    server.chat, server.stall_after = ["Once upon"], 1
    server.chat.append("never sent")
    process = _start(["chat", "Tell me"], environment)

    assert process.stdout is not None
    first = process.stdout.read(len("Once upon"))
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=10)

    assert (process.returncode, first + rest, err) == (130, b"Once upon\n", b"")
    assert server.client_left.wait(5)


def test_ctrl_c_during_an_apply_detaches(
    server: FakeServer, environment: dict[str, str], profile: Path, home: Path
) -> None:
    fifo = home / "gate"
    os.mkfifo(fifo)

    class Gate(list):  # type: ignore[type-arg]  # events that come only when the gate opens
        def __iter__(self):  # type: ignore[no-untyped-def]
            yield Planned(server.plan, 3)
            server.stalled.set()
            fifo.read_text()

    server.events = Gate()
    process = _start(["apply", str(profile)], environment)
    assert server.stalled.wait(10)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    fifo.write_text("open")

    assert (process.returncode, b"Converged" in out) == (130, False)
    assert err.decode().strip() == (
        "Detached. The server goes on; `lmrun status` shows how far it is."
    )


def test_a_bug_exits_with_3_and_says_where_its_traceback_is(
    environment: dict[str, str], tmp_path: Path
) -> None:
    program = (
        "import sys, lmrun.cli.commands.statuses as s\n"
        "def broken(**_): raise KeyError('oops')\n"
        "s.status = broken\n"
        "from lmrun.cli.main import main\n"
        "sys.exit(main())"
    )
    command = [sys.executable, "-c", program]
    quiet = {**environment, "TMPDIR": str(tmp_path)}

    done = subprocess.run([*command, "status"], capture_output=True, env=quiet, timeout=30)
    debug = subprocess.run(
        [*command, "--debug", "status"], capture_output=True, env=quiet, timeout=30
    )

    (kept,) = tmp_path.glob("lmrun-bug-*.txt")
    first, second = done.stderr.decode().splitlines()
    assert done.returncode == debug.returncode == 3
    assert first == "Bug in lmrun: KeyError: 'oops'"
    assert str(kept) in second
    assert "Traceback (most recent call last)" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0
    assert b"Traceback (most recent call last)" in debug.stderr


def _start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _open_screen(arguments: list[str], environment: dict[str, str]) -> Screen:
    return Screen([*COMMAND, *arguments], environment)


@pytest.fixture
def busy(server: FakeServer) -> FakeServer:
    """A server whose apply loads a model."""
    server.plan = Plan(0, (Action("Unload", "old", "old", ()), Action("Load", "new", "new", ())))
    server.events = [
        Planned(server.plan, 1),
        ActionStarted("Load", "new"),
        ActionProgress("new", "fetch", 5e6, 10e6),
        ActionProgress("new", "load", 0.5, 1.0),
        ActionEnded(Outcome("Load", "new", 0.2)),
        ApplyEnded(True, 1, "http://127.0.0.1:1"),
    ]
    return server


def test_a_terminal_gets_color_and_bars(
    busy: FakeServer, environment: dict[str, str], profile: Path
) -> None:
    screen = _open_screen(["apply", "--yes", str(profile)], {**environment, "TERM": "xterm"})

    assert screen.end() == 0
    assert "\x1b[32m✓\x1b[0m new loaded in 0.2 s" in screen.text
    assert "\x1b[?25l" in screen.text, "a bar hides the cursor"
    assert "\x1b[?25h" in screen.text, "and shows it again"


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color_means_plain_lines(
    busy: FakeServer, environment: dict[str, str], profile: Path, variable: dict[str, str]
) -> None:
    screen = _open_screen(
        ["apply", "--yes", str(profile)], {**environment, "TERM": "xterm", **variable}
    )

    assert screen.end() == 0
    assert "\x1b" not in screen.text
    assert "✓ new loaded in 0.2 s" in screen.text


@pytest.mark.parametrize(("answer", "code", "applies"), [("y\n", 0, 1), ("\n", 1, 0)])
def test_an_unload_is_asked_about_at_a_terminal(
    busy: FakeServer,
    environment: dict[str, str],
    profile: Path,
    answer: str,
    code: int,
    applies: int,
) -> None:
    screen = _open_screen(["apply", str(profile)], {**environment, "TERM": "xterm"})

    screen.read_until("unloads old. Go on? [y/N]")
    screen.type(answer)

    assert screen.end() == code
    assert len(busy.bodies("/lmrun/v1/apply")) == applies


def test_ctrl_c_at_a_question_leaves_its_line(
    busy: FakeServer, environment: dict[str, str], profile: Path
) -> None:
    screen = _open_screen(["apply", str(profile)], {**environment, "TERM": "xterm"})

    screen.read_until("Go on? [y/N]")
    screen.process.send_signal(signal.SIGINT)

    assert screen.end() == 130
    assert screen.text.endswith("\n")
    assert not busy.bodies("/lmrun/v1/apply")


def test_a_model_s_escape_sequences_do_not_reach_the_terminal(
    server: FakeServer, environment: dict[str, str]
) -> None:
    server.chat = ["safe\x1b]0;owned\x07", "\x1b[2J"]
    screen = _open_screen(["chat", "hi"], {**environment, "TERM": "xterm"})
    screen.type("\x04")

    assert screen.end() == 0
    assert "safe" in screen.text
    assert "\x1b" not in screen.text
