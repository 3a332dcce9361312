"""What a run in the background asks: shown, answered from elsewhere, and asked again after the
server was started again."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.profiles import write_profile, write_script
from tests.support.screen import Screen
from tests.support.server import Server, eventually, lmrun, serving

COMMAND = [sys.executable, "-P", "-m", "lmrun"]
FUNCTION = '''
from pathlib import Path


def note(text: str) -> str:
    """Writes a note."""
    with open("notes.txt", "a") as file:
        file.write(text)
    return "noted"
'''
CALL = json.dumps({"name": "note", "arguments": {"text": "x"}})
REPLIES: list[dict[str, Any]] = [
    {"match": "denied", "pieces": ["I may not."]},
    {"match": "END_TOOL_RESULT", "pieces": ["It is done."]},
    {"pieces": [f"[TOOL_REQUEST]{CALL}[END_TOOL_REQUEST]"]},
]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    (tmp_path / "functions.py").write_text(FUNCTION)
    script = write_script(tmp_path / "a.scripted.json", *REPLIES)
    return write_profile(
        tmp_path / "p.yaml",
        {"a": {"source": f"file:{script}"}},
        tools={"note": {"python": "functions:note", "policy": "ask"}},
    )


@pytest.fixture
def server(tmp_path: Path, profile: Path) -> Iterator[Server]:
    with serving(tmp_path, profile) as running:
        yield running


def begin(server: Server) -> str:
    """A run in the background, begun at a terminal; its name, once it asks."""
    environment = {**os.environ, "LMRUN_HOME": str(server.home.root), "TERM": "dumb"}
    words = ["act", "--background", "-m", "a", "-t", "note", "Note"]
    screen = Screen([*COMMAND, *words], environment)
    assert screen.end() == 0, screen.text
    run = screen.text.split()[0]
    assert f"`lmrun runs approve {run}` answers what it asks." in screen.text
    eventually(lambda: asks(server, run))
    return run


def asks(server: Server, run: str) -> bool:
    return bool(json.loads(server.control.run(run))["questions"])


def ends(server: Server, run: str) -> str:
    """Its answer."""

    def look() -> Any:
        found = json.loads(server.control.run(run))
        return found if found["summary"]["state"] == "completed" else None

    return str(eventually(look)["text"])


def notes(server: Server) -> str:
    file = server.home.root / "notes.txt"
    return file.read_text() if file.exists() else ""


def test_what_it_asks_is_listed_and_agreed_to(server: Server) -> None:
    run = begin(server)
    listed = lmrun(server, "runs", "list")
    assert listed.stdout.split()[:2] == [run, "asks"]
    assert f"`lmrun runs approve {run}`" in listed.stderr
    assert "waits for a reply note" in lmrun(server, "runs", "show", run).stdout
    done = lmrun(server, "runs", "approve", run, "--once")
    assert done.returncode == 0, done.stderr
    assert "? note" in done.stderr and "It is run." in done.stderr
    assert ends(server, run) == "It is done."
    assert notes(server) == "x"
    again = lmrun(server, "runs", "approve", run, "--once")
    assert (again.returncode, again.stderr) == (0, "It asks nothing: it is completed.\n")


def test_it_can_be_denied_and_agreed_to_for_good(server: Server) -> None:
    first = begin(server)
    assert "It is not run." in lmrun(server, "runs", "approve", first, "--deny").stderr
    assert ends(server, first) == "I may not."
    second = begin(server)
    assert lmrun(server, "runs", "approve", second, "--always").returncode == 0
    assert ends(server, second) == "It is done."
    third = lmrun(server, "act", "--background", "-m", "a", "-t", "note", "Note").stdout.strip()
    assert ends(server, third) == "It is done."
    assert notes(server) == "xx"


def test_without_a_terminal_it_is_denied_and_that_is_said(server: Server) -> None:
    begun = lmrun(server, "act", "--background", "-m", "a", "-t", "note", "Note")
    assert "is denied: nobody sits at a terminal" in begun.stderr
    assert ends(server, begun.stdout.strip()) == "I may not."


def test_an_answer_that_comes_second_is_told_so(server: Server) -> None:
    run = begin(server)
    environment = {**os.environ, "LMRUN_HOME": str(server.home.root), "TERM": "dumb"}
    screen = Screen([*COMMAND, "runs", "approve", run], environment)
    screen.read_until("Run it?")
    assert lmrun(server, "runs", "approve", run, "--deny").returncode == 0
    screen.type("y\n")
    assert screen.end() == 0
    assert "Somebody else has answered, or nobody did in time." in screen.text
    assert ends(server, run) == "I may not."


def test_two_replies_at_a_time_are_wrong_usage(server: Server) -> None:
    done = lmrun(server, "runs", "approve", "run_1", "--once", "--deny")
    assert done.returncode == 2
    assert "one of --once" in done.stderr


def test_it_asks_again_after_a_restart(tmp_path: Path, profile: Path) -> None:
    with serving(tmp_path, profile) as server:
        run = begin(server)
        server.kill()
    with serving(tmp_path, profile) as server:
        eventually(lambda: asks(server, run))
        assert lmrun(server, "runs", "approve", run, "--once").returncode == 0
        assert ends(server, run) == "It is done."
        assert notes(server) == "x"
