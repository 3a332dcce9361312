"""A real server's policy while a run goes on: what is applied while somebody is asked counts, and
rules about a model hold for what was loaded of it by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.profiles import write_profile, write_script
from tests.support.server import Server, eventually, free_port

NOTE = json.dumps({"name": "note", "arguments": {"text": "hi"}})
TOUCH: dict[str, Any] = {
    "command": ["cp", "/dev/null", "{text}"],
    "parameters": {"text": {"type": "string"}},
}


class Home:
    """A server with a model that calls `note`, which makes the file `hi`."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.folder = server.home.root
        self._port = free_port()
        write_script(
            self.folder / "a.scripted.json",
            {"match": "END_TOOL_RESULT", "pieces": ["Done."]},
            {"pieces": [f"[TOOL_REQUEST]{NOTE}[END_TOOL_REQUEST]"]},
        )

    def apply(self, tools: dict[str, Any], *rules: dict[str, Any]) -> None:
        models = {"a": {"source": "file:./a.scripted.json", "state": "on_demand"}}
        profile = write_profile(
            self.folder / "p.yaml",
            models,
            port=self._port,
            tools={**tools, "other": {"command": ["true"]}},
            policy={"rules": list(rules)},
        )
        assert self.server.apply(profile).converged

    def begin(self, model: str = "a") -> str:
        body = {"model": model, "tools": ["*"], "prompt": "Note hi", "approvals": True}
        return str(json.loads(self.server.control.begin(body))["summary"]["id"])

    def read(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.server.control.run(run))
        return found

    def question(self, run: str) -> str:
        asked = eventually(lambda: self.read(run)["questions"])
        return str(asked[0]["id"])

    def result(self, run: str) -> str:
        """What the model was told of its call, once the run has ended."""
        found = eventually(
            lambda: it if (it := self.read(run))["summary"]["state"] != "running" else None
        )
        assert found["summary"]["state"] == "completed", found
        (told,) = (it["content"] for it in found["messages"] if it["role"] == "tool")
        return str(told)

    @property
    def is_noted(self) -> bool:
        return (self.folder / "hi").exists()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with Server(tmp_path_factory.mktemp("home")) as server:
        yield Home(server)


@pytest.fixture
def home(started: Home) -> Iterator[Home]:
    yield started
    (started.folder / "hi").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("tools", "rules", "told"),
    [
        ({"note": {**TOUCH, "policy": "deny"}}, (), "denied: the profile denies this tool"),
        ({"note": TOUCH}, ({"tools": ["note"], "decision": "deny", "reason": "no"},), "denied: no"),
        ({}, (), "denied: the profile does not declare this tool any more"),
        (
            {"note": {**TOUCH, "command": ["cp", "/etc/hostname", "{text}"]}},
            (),
            "denied: the tool does something else since the model was told of it",
        ),
    ],
)
def test_a_yes_does_not_override_what_was_applied_meanwhile(
    home: Home, tools: dict[str, Any], rules: tuple[dict[str, Any], ...], told: str
) -> None:
    home.apply({"note": TOUCH})
    run = home.begin()
    question = home.question(run)
    home.apply(tools, *rules)
    home.server.control.approve(run, question, "always")
    assert home.result(run) == told
    assert not home.is_noted


def test_a_yes_to_a_tool_that_has_not_changed_is_one(home: Home) -> None:
    home.apply({"note": TOUCH})
    run = home.begin()
    question = home.question(run)
    home.apply({"note": {**TOUCH, "timeout": "20s"}, "more": {"command": ["true"]}})
    home.server.control.approve(run, question, "once")
    assert home.result(run) == "Done."
    assert home.is_noted


def test_rules_about_a_model_hold_for_what_was_loaded_of_it_by_hand(home: Home) -> None:
    rule = {"tools": ["note"], "models": ["a"], "decision": "deny", "reason": "not with a"}
    home.apply({"note": {**TOUCH, "policy": "allow"}}, rule)
    home.server.control.load("a", {}, "mine")
    run = home.begin("mine")
    assert home.result(run) == "denied: not with a"
    assert not home.is_noted
    home.server.control.unload("mine")
