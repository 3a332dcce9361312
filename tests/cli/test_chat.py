"""`lmrun chat` against a server that plays one: what it asks, shows, and exits with."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Run
from tests.support.control import FakeServer, instance, model, refusal, status


class TestChat:
    def test_the_answer_is_written_to_stdout(self, lmrun: Run, server: FakeServer) -> None:
        server.chat = ["Par", "is", "."]

        result = lmrun("chat", "Capital", "of France?")

        assert (result.code, result.out, result.err) == (0, "Paris.\n", "")
        assert server.bodies("/v1/chat/completions") == [
            {
                "model": "assistant",
                "messages": [{"role": "user", "content": "Capital of France?"}],
                "stream": True,
            }
        ]

    def test_settings_and_system_message_are_sent(self, lmrun: Run, server: FakeServer) -> None:
        settings = [
            "--temperature",
            "0",
            "--max-tokens",
            "5",
            "--seed",
            "7",
            "--system",
            "Be kind.",
        ]

        lmrun("chat", "-m", "assistant", *settings, "Hi")

        body = server.bodies("/v1/chat/completions")[0]
        assert (body["temperature"], body["max_tokens"], body["seed"]) == (0, 5, 7)
        assert body["messages"][0] == {"role": "system", "content": "Be kind."}

    def test_an_agent_is_asked_by_its_name(self, lmrun: Run, server: FakeServer) -> None:
        server.agents, server.chat = ["helper"], ["Done."]

        result = lmrun("chat", "-m", "helper", "--api-key", "k1", "Hi")

        assert (result.code, result.out) == (0, "Done.\n")
        assert server.bodies("/v1/chat/completions")[0]["model"] == "helper"
        assert {headers.get("Authorization") for headers in server.headers[-2:]} == {"Bearer k1"}

    @pytest.mark.parametrize("arguments", [["--api-key", "k1"], []])
    def test_the_api_key_is_sent(
        self,
        lmrun: Run,
        server: FakeServer,
        monkeypatch: pytest.MonkeyPatch,
        arguments: list[str],
    ) -> None:
        monkeypatch.setenv("LMRUN_API_KEY", "k1")

        lmrun("chat", *arguments, "Hi")

        assert server.headers[-1]["Authorization"] == "Bearer k1"

    @pytest.mark.parametrize(
        ("models", "arguments", "message", "hint"),
        [
            ([], ["hi"], "No model is ready.", "See `lmrun status`."),
            (
                [model("a", state="on_demand"), model("b", state="on_demand"), model("c")],
                ["hi"],
                "No model is ready.",
                "Choose one with -m that is loaded on demand: a, b.",
            ),
            (
                [model("a", instance("a")), model("b", instance("b"))],
                ["hi"],
                "Several models are ready.",
                "Choose one with -m: a, b.",
            ),
            (
                [model("smollm2", instance("assistant"))],
                ["-m", "asistant", "hi"],
                "No model is called asistant.",
                "Did you mean assistant?",
            ),
            (
                [model("smollm2", instance("assistant"))],
                ["-m", "gpt-4o", "hi"],
                "No model is called gpt-4o.",
                "There is: assistant, smollm2.",
            ),
        ],
    )
    def test_a_model_that_cannot_be_meant_is_an_error_with_a_way_out(
        self,
        lmrun: Run,
        server: FakeServer,
        models: list[object],
        arguments: list[str],
        message: str,
        hint: str,
    ) -> None:
        server.status = status(*models, address=server.status.server.address)  # type: ignore[arg-type]

        result = lmrun("chat", *arguments)

        assert result.code == 1
        assert result.err.splitlines() == [f"Error: {message}", f"Hint: {hint}"]

    def test_a_refusal_is_one_line(self, lmrun: Run, server: FakeServer) -> None:
        server.chat = (400, refusal("the prompt is longer than the context"))

        result = lmrun("chat", "Hi")

        assert (result.code, result.err) == (1, "Error: the prompt is longer than the context\n")

    def test_an_answer_that_was_cut_off_says_so(self, lmrun: Run, server: FakeServer) -> None:
        server.chat, server.finish_reason = ["Once"], "length"

        result = lmrun("chat", "Tell")

        assert (result.code, result.out) == (0, "Once\n")
        assert "cut off" in result.err

    def test_without_a_server_there_is_a_hint(self, lmrun: Run) -> None:
        result = lmrun("chat", "Hi")

        assert result.code == 1
        assert result.err.splitlines()[1] == "Hint: `lmrun apply PROFILE` starts it."
