"""`lmrun runs` against a server that plays one."""

from __future__ import annotations

import json

from lmrun.chat.messages import Message, ToolCall
from lmrun.tools.act.requests import RunDetail, RunFailure
from lmrun.tools.act.stream import RunList
from tests.cli.conftest import Run
from tests.cli.told_runs import ACT, ADDING, QUESTION, USAGE, make_run
from tests.support.control import FakeServer


class TestRuns:
    def test_nobody_answers_without_a_terminal(self, lmrun: Run, server: FakeServer) -> None:
        result = lmrun("runs", "approve", "run_1")

        assert result.code == 1
        assert result.err.splitlines()[0] == "Error: There is nobody to ask."

    def test_they_are_listed_a_line_each(self, lmrun: Run, server: FakeServer) -> None:
        failed = make_run("failed", id="run_0", agent="helper", task="Do\nit " + "x" * 100)
        server.answers[ACT] = RunList((make_run("completed"), failed))

        result = lmrun("runs", "list")

        first, second = result.out.splitlines()
        assert first.split()[:3] == ["run_1", "completed", "assistant"]
        assert second.split()[:3] == ["run_0", "failed", "helper"]
        assert "Do it xxx" in second

    def test_none_is_told(self, lmrun: Run, server: FakeServer) -> None:
        server.answers[ACT] = RunList(())

        result = lmrun("runs", "list")

        assert (result.code, result.out, result.err) == (0, "", "There are no runs.\n")

    def test_one_is_shown_with_its_calls(self, lmrun: Run, server: FakeServer) -> None:
        messages = (
            Message("user", "Add 2 and 3"),
            Message("assistant", "", tool_calls=(ToolCall("c1", "add", '{"a": 2, "b": 3}'),)),
            Message("tool", "5", tool_call_id="c1"),
        )
        failure = RunFailure("engine_crashed", "The worker died.", "Resume it.")
        detail = RunDetail(
            make_run("failed"),
            1,
            1,
            USAGE,
            messages,
            failure=failure,
            questions=(QUESTION.question,),
        )
        server.answers[f"{ACT}/run_1"] = detail

        result = lmrun("runs", "show", "run_1")

        assert result.out.splitlines() == [
            "run_1 failed (1 round, 1 call) assistant",
            "  user Add 2 and 3",
            "  call add(a=2, b=3)",
            "  tool 5",
            '  waits for a reply create_file(name="a.txt")',
            "  failed The worker died. Resume it.",
        ]

    def test_json_is_the_servers(self, lmrun: Run, server: FakeServer) -> None:
        server.answers[ACT] = RunList((make_run(),))

        assert json.loads(lmrun("runs", "list", "--json").out)["data"][0]["id"] == "run_1"

    def test_one_is_cancelled(self, lmrun: Run, server: FakeServer) -> None:
        server.answers[f"{ACT}/run_1/cancel"] = make_run("cancelled")

        result = lmrun("runs", "cancel", "run_1")

        assert (result.code, result.out) == (0, "Cancelled run_1.\n")

    def test_one_is_resumed_and_shown(self, lmrun: Run, server: FakeServer) -> None:
        server.run = ADDING

        result = lmrun("runs", "resume", "run_1")

        assert (result.code, result.out) == (0, "It is 5.\n")
        assert server.bodies(f"{ACT}/run_1/resume") == [
            {"approvals": False, "elicitations": False, "stream": True}
        ]
