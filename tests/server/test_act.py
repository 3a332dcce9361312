"""Runs over HTTP and from the command line: a real server, a model that says what it is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

import lmrun
from lmrun.client.http import Refused
from lmrun.tools.act.events import ActEvent, CallSucceeded
from tests.support.profiles import ask as ask_model
from tests.support.profiles import posting, read_events, write_profile, write_script
from tests.support.server import Server, eventually, serving

ACT = "/lmrun/v1/act"
COMMAND = [sys.executable, "-P", "-m", "lmrun"]
KEYS = {name: name[0] * 40 for name in ("worker", "other", "boss", "plain", "narrow")}
SCOPES = {
    "worker": ["inference", "tools"],
    "narrow": ["tools"],
    "other": ["inference", "tools"],
    "boss": ["admin"],
    "plain": ["inference"],
}

FUNCTIONS = '''
from pathlib import Path


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def note(text: str) -> str:
    """Writes a note."""
    Path("note.txt").write_text(text)
    return "written"
'''


def make_call(name: str, arguments: dict[str, Any]) -> str:
    call = json.dumps({"name": name, "arguments": arguments})
    return f"[TOOL_REQUEST]{call}[END_TOOL_REQUEST]"


REPLIES: list[dict[str, Any]] = [
    {"match": r"denied", "pieces": ["I may not."]},
    {"match": "END_TOOL_RESULT", "pieces": ["It is", " done."]},
    {"match": "slowly", "pieces": ["tick "], "repeat": 2000, "seconds_per_token": 0.05},
    {"match": "patiently", "pieces": ["At last."], "seconds_before_first": 1.0},
    {"match": "Write a note", "pieces": [make_call("note", {"text": "hi"})]},
    {"pieces": [make_call("add", {"a": 2, "b": 3})]},
]


def write_all(home: Path, **server: Any) -> Path:
    (home / "act_tools.py").write_text(FUNCTIONS)
    script = write_script(home / "a.scripted.json", *REPLIES)
    return write_profile(
        home / "p.yaml",
        {"a": {"source": f"file:{script}"}},
        tools={
            "add": {"python": "act_tools:add", "policy": "allow"},
            "note": {"python": "act_tools:note"},
        },
        agents={"helper": {"model": "a", "tools": ["*"]}},
        server=server,
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    with serving(home, write_all(home)) as running:
        yield running


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks for keys."""
    home = tmp_path_factory.mktemp("home")
    keys = [
        {"name": name, "key": f"${{env:{name.upper()}_KEY}}", "scopes": scopes}
        for name, scopes in SCOPES.items()
    ]
    environment = {f"{name.upper()}_KEY": key for name, key in KEYS.items()}
    with serving(home, write_all(home, api_keys=keys), **environment) as running:
        yield running


def ask(
    server: Server,
    method: str,
    path: str = "",
    body: dict[str, Any] | None = None,
    *,
    key: str | None = None,
    **headers: str,
) -> tuple[int, Any]:
    """The status and the JSON of an answer. `headers`: their names with `_` for `-`."""
    url = urlsplit(server.address)
    connection = HTTPConnection(url.hostname or "", url.port, timeout=30)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        sent["Authorization"] = f"Bearer {KEYS[key]}"
    try:
        content = None if body is None else json.dumps(body)
        connection.request(
            method, f"{ACT}{path}", content, {"Content-Type": "application/json", **sent}
        )
        response = connection.getresponse()
        return response.status, json.load(response)
    finally:
        connection.close()


def task(prompt: str = "Add 2 and 3", **fields: Any) -> dict[str, Any]:
    return {"model": "a", "tools": ["add", "note"], "prompt": prompt, **fields}


def state_of(server: Server, run: str, key: str | None = None) -> str:
    return str(ask(server, "GET", f"/{run}", key=key)[1]["summary"]["state"])


def test_a_run_is_answered_whole(server: Server) -> None:
    status, run = ask(server, "POST", body=task())
    assert status == 200, run
    assert (run["text"], run["summary"]["state"], run["rounds"], run["calls"]) == (
        "It is done.",
        "completed",
        2,
        1,
    )
    assert run["summary"]["door"] == "act"
    assert [message["role"] for message in run["messages"]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]


def test_an_agent_does_it_with_its_own_tools(server: Server) -> None:
    status, run = ask(server, "POST", body={"agent": "helper", "prompt": "Add 2 and 3"})
    assert (status, run["text"]) == (200, "It is done."), run
    assert run["summary"]["agent"] == "helper"


def test_a_stream_says_first_which_run_it_is(server: Server) -> None:
    with posting(server.address, task(stream=True), ACT) as response:
        events = list(read_events(response))
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["run.start", "round.start"]
    assert kinds[-1] == "act.end"
    assert "tool_call.success" in kinds
    run = events[0]["run"]["id"]
    assert state_of(server, run) == "completed"
    assert run in {each["id"] for each in ask(server, "GET")[1]["data"]}


def test_fifty_at_a_time_come_to_their_answer(server: Server) -> None:
    """Half of them as runs, half as an agent that clients name as their model."""

    def have_done(number: int) -> str:
        if number % 2:
            return str(ask(server, "POST", body=task(f"Add {number} and 3"))[1]["text"])
        return ask_model(server.address, f"Add {number} and 3", model="helper")

    with ThreadPoolExecutor(50) as threads:
        assert set(threads.map(have_done, range(50))) == {"It is done."}
    eventually(lambda: server.status.models[0].instances[0].active == 0)


@pytest.mark.parametrize("in_header", [False, True])
def test_a_key_asked_with_again_is_the_same_run(server: Server, in_header: bool) -> None:
    key = f"key-{in_header}"
    headers = {"idempotency_key": key} if in_header else {}
    body = task() if in_header else task(idempotency_key=key)
    first, again = (ask(server, "POST", body=body, **headers)[1] for _ in range(2))
    assert first["summary"]["id"] == again["summary"]["id"]
    other = {**body, "prompt": "Add other numbers"}
    status, refused = ask(server, "POST", body=other, **headers)
    assert (status, refused["error"]["code"]) == (409, "run_conflict")


def test_two_different_keys_are_refused(server: Server) -> None:
    body = task(idempotency_key="one")
    status, refused = ask(server, "POST", body=body, idempotency_key="two")
    assert (status, refused["error"]["param"]) == (400, "idempotency_key")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"model": "a", "prompt": "x", "messages": [{"role": "user", "content": "x"}]}, "prompt"),
        ({"model": "a"}, "prompt"),
        ({"prompt": "x"}, "agent"),
        ({"model": "a", "agent": "helper", "prompt": "x"}, "agent"),
        ({"agent": "helper", "tools": ["add"], "prompt": "x"}, "tools"),
        ({"model": "a", "tools": ["nothing"], "prompt": "x"}, "nothing"),
        ({"model": "a", "tools": ["../x"], "prompt": "x"}, "tools"),
        ({"model": "a", "prompt": "x", "command": ["sh"]}, "command"),
        ({"model": "a", "prompt": "x", "prediction": {"temprature": 1}}, "temprature"),
        ({"model": "a", "prompt": "x", "limits": {"max_rounds": 0}}, "max_rounds"),
        ({"model": "a", "messages": [{"role": "tool", "content": "x"}]}, "role"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    server: Server, body: dict[str, Any], words: str
) -> None:
    status, refused = ask(server, "POST", body=body)
    assert status == 400, refused
    assert words in refused["error"]["message"]


def test_a_model_that_is_not_there_is_not_found(server: Server) -> None:
    status, refused = ask(server, "POST", body={"model": "nobody", "prompt": "x"})
    assert (status, refused["error"]["code"]) == (404, "model_not_found")


def test_a_run_in_the_background_goes_on_and_can_be_cancelled(server: Server) -> None:
    status, run = ask(server, "POST", body=task("Count slowly", background=True))
    assert status == 202
    id = run["summary"]["id"]
    assert state_of(server, id) == "running"
    running = ask(server, "GET", "?state=running")[1]["data"]
    assert [each["id"] for each in running] == [id]

    assert ask(server, "POST", f"/{id}/cancel", {})[1]["state"] == "cancelled"
    assert state_of(server, id) == "cancelled"
    status, refused = ask(server, "POST", f"/{id}/resume", {})
    assert (status, refused["error"]["code"]) == (409, "run_conflict")
    eventually(lambda: server.status.models[0].instances[0].active == 0)


def test_a_run_ends_with_the_client_that_follows_it(server: Server) -> None:
    with posting(server.address, task("Count slowly", stream=True), ACT) as response:
        id = next(read_events(response))["run"]["id"]
        assert state_of(server, id) == "running"
    eventually(lambda: state_of(server, id) == "cancelled")


def find_running(server: Server) -> list[str]:
    return [run["id"] for run in ask(server, "GET", "?state=running")[1]["data"]]


def test_a_run_ends_with_the_client_that_waits_for_it(server: Server) -> None:
    url = urlsplit(server.address)
    connection = HTTPConnection(url.hostname or "", url.port, timeout=30)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", ACT, json.dumps(task("Count slowly")), headers)
    (id,) = eventually(lambda: find_running(server))
    connection.close()
    eventually(lambda: state_of(server, id) == "cancelled")


def follow(server: Server, run: str) -> list[dict[str, Any]]:
    with urlopen(f"{server.address}{ACT}/{run}/events", timeout=30) as response:
        return list(read_events(response))


def test_a_run_that_has_ended_can_be_followed_again(server: Server) -> None:
    run = ask(server, "POST", body=task())[1]["summary"]["id"]
    events = follow(server, run)
    assert (events[0]["type"], events[0]["run"]["state"]) == ("run.start", "completed")
    assert [event["text"] for event in events if event["type"] == "tool_call.success"] == ["5"]
    assert (events[-1]["type"], events[-1]["text"]) == ("act.end", "It is done.")


def test_after_a_crash_runs_go_on(tmp_path: Path) -> None:
    """What ran in the background by itself, what somebody waited for when it is asked for."""
    with serving(tmp_path, write_all(tmp_path)) as server:
        id = ask(server, "POST", body=task("Wait patiently", background=True))[1]["summary"]["id"]
        with posting(server.address, task("Wait patiently", stream=True), ACT) as response:
            attached = next(read_events(response))["run"]["id"]
            server.kill()
    with serving(tmp_path, tmp_path / "p.yaml") as server:
        eventually(lambda: state_of(server, id) == "completed")
        assert state_of(server, attached) == "interrupted"
        status, run = ask(server, "POST", f"/{attached}/resume", {})
        assert (status, run["text"], run["summary"]["state"]) == (200, "At last.", "completed")


def test_nobody_can_be_asked_without_a_key(server: Server) -> None:
    status, run = ask(server, "POST", body=task("Write a note"))
    assert (status, run["text"]) == (200, "I may not.")
    assert not (server.home.root / "note.txt").exists()
    status, refused = ask(server, "POST", body=task("Write a note", approvals=True))
    assert (status, refused["error"]["code"]) == (403, "forbidden")
    body = {"call": "c1", "reply": "once"}
    id = run["summary"]["id"]
    assert ask(server, "POST", f"/{id}/approve", body)[0] == 403


@pytest.mark.parametrize("path", ["", "/events"])
def test_a_run_that_nobody_knows_is_not_found(server: Server, path: str) -> None:
    status, refused = ask(server, "GET", f"/run_none{path}")
    assert (status, refused["error"]["code"]) == (404, "run_not_found")


@pytest.mark.parametrize("query", ["?state=ended", "?limit=0", "?limit=many", "?page=2"])
def test_a_list_is_asked_for_by_what_there_is(server: Server, query: str) -> None:
    assert ask(server, "GET", query)[0] == 400


def test_a_key_needs_the_scope_of_tools(locked: Server) -> None:
    for method, path in (("POST", ""), ("GET", ""), ("GET", "/run_none")):
        status, refused = ask(
            locked, method, path, task() if method == "POST" else None, key="plain"
        )
        assert status == 403
        assert "'tools'" in refused["error"]["message"]


def test_a_key_needs_the_scope_of_models_to_have_one_generate(locked: Server) -> None:
    status, refused = ask(locked, "POST", body=task(), key="narrow")
    assert status == 403
    assert "'inference'" in refused["error"]["message"]
    assert ask(locked, "GET", key="narrow")[0] == 200


def test_others_runs_are_not_there(locked: Server) -> None:
    run = ask(locked, "POST", body=task(), key="worker")[1]["summary"]
    assert run["key"] == "worker"
    assert ask(locked, "GET", f"/{run['id']}", key="other")[0] == 404
    assert ask(locked, "POST", f"/{run['id']}/cancel", {}, key="other")[0] == 404
    assert ask(locked, "GET", f"/{run['id']}", key="boss")[0] == 200
    listed = {
        key: {each["id"] for each in ask(locked, "GET", key=key)[1]["data"]}
        for key in ("worker", "other", "boss")
    }
    assert run["id"] in listed["worker"] & listed["boss"]
    assert run["id"] not in listed["other"]


@pytest.mark.parametrize(("reply", "text"), [("once", "It is done."), ("no", "I may not.")])
def test_a_key_with_the_scope_of_tools_can_agree(locked: Server, reply: str, text: str) -> None:
    file = locked.home.root / "note.txt"
    file.unlink(missing_ok=True)
    started = ask(
        locked,
        "POST",
        body=task("Write a note", approvals=True, background=True),
        key="worker",
    )[1]
    path = f"/{started['summary']['id']}"
    questions = eventually(lambda: ask(locked, "GET", path, key="worker")[1].get("questions"))
    (question,) = questions
    assert (question["tool"], question["arguments"]) == ("note", {"text": "hi"})
    assert not file.exists()

    body = {"call": question["id"], "reply": reply}
    assert ask(locked, "POST", f"{path}/approve", body, key="other")[0] == 404
    assert ask(locked, "POST", f"{path}/approve", body, key="worker") == (200, body)
    eventually(lambda: state_of(locked, path[1:], "worker") == "completed")
    assert ask(locked, "GET", path, key="worker")[1]["text"] == text
    assert file.exists() is (reply == "once")
    assert ask(locked, "POST", f"{path}/approve", body, key="worker")[0] == 409


def environment_of(server: Server) -> dict[str, str]:
    return {**os.environ, "LMRUN_HOME": str(server.home.root), "TERM": "dumb"}


def test_ctrl_c_cancels_the_run(server: Server) -> None:
    command = [*COMMAND, "act", "-m", "a", "--json", "Count slowly"]
    with subprocess.Popen(
        command,
        env=environment_of(server),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        id = json.loads(process.stdout.readline())["run"]["id"]
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 130
        assert f"Cancelled {id}." in process.stderr.read().decode()
    assert state_of(server, id) == "cancelled"


def run_lmrun(server: Server, *arguments: str) -> str:
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=environment_of(server),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_runs_are_shown_and_cancelled_from_the_command_line(server: Server) -> None:
    id = run_lmrun(server, "act", "--background", "-m", "a", "Count slowly").strip()
    assert f"{id}  running" in run_lmrun(server, "runs", "list")
    assert "user Count slowly" in run_lmrun(server, "runs", "show", id)
    assert run_lmrun(server, "runs", "cancel", id) == f"Cancelled {id}.\n"
    assert f"{id}  cancelled" in run_lmrun(server, "runs", "list")


def test_a_python_program_names_tools_of_the_profile(server: Server) -> None:
    heard: list[ActEvent] = []
    end = lmrun.act(
        "a", "Add 2 and 3", ["add"], base_url=server.address, on_event=heard.append, seed=7
    )
    assert (end.text, end.calls) == ("It is done.", 1)
    assert [event.text for event in heard if isinstance(event, CallSucceeded)] == ["5"]
    with pytest.raises(Refused, match="nothing") as caught:
        lmrun.act("a", "Add", ["nothing"], base_url=server.address)
    assert caught.value.status == 400


def test_chat_with_tools_shows_the_answer(server: Server) -> None:
    assert run_lmrun(server, "chat", "-m", "a", "--tools", "add", "Add 2 and 3") == "It is done.\n"
