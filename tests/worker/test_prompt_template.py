"""A worker whose model has another template than its own, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import pytest

from lmrun.chat.events import ChatEnd, MessageDelta, PromptText
from lmrun.chat.messages import Conversation, Message, RawPrompt
from lmrun.worker.frames import Generate, Loaded, LoadFailed, Step
from tests.support.instances import make_spec, script
from tests.support.tiny_bert import make_tiny_bert
from tests.support.worker import Worker, events_of, open_worker, parts_of

HELLO = Conversation((Message("user", "hello"),))
MANUAL = {"before_user": "<U>", "after_user": "</U>", "before_assistant": "<A>"}


def load(worker: Worker, folder: Path, template: dict[str, Any], **fields: Any) -> Any:
    reply = {"pieces": ["one ", "STOP ", "two"]}
    spec = make_spec(folder, script(reply, chat_template="{{ 'its own' }}", **fields))
    return worker.load(spec.path, prompt_template=template)


def ask(worker: Worker, id: int, prompt: Conversation | RawPrompt) -> tuple[str, str, ChatEnd]:
    """The prompt, the answer and its end."""
    worker.send(Generate(id, prompt, {}, reports_prompt="all"))

    def is_over(step: Step) -> bool:
        return any(isinstance(event, ChatEnd) for part in step.sequences for event in part.events)

    events = events_of(worker.until(is_over), id)
    prompts = [event.text for event in events if isinstance(event, PromptText)]
    text = "".join(event.text for event in events if isinstance(event, MessageDelta))
    (end,) = (event for event in events if isinstance(event, ChatEnd))
    return "".join(prompts), text, end


def test_the_profile_s_template_is_used_and_reported_instead_of_the_model_s(tmp_path: Path) -> None:
    source = "{{ messages[0].content | upper }}"
    with open_worker() as worker:
        loaded = load(worker, tmp_path, {"jinja": source})
        assert isinstance(loaded, Loaded) and loaded.info.chat_template == source
        assert ask(worker, 1, HELLO)[0] == "HELLO"


def test_stop_strings_of_a_template_end_conversations_and_nothing_else(tmp_path: Path) -> None:
    with open_worker() as worker:
        load(worker, tmp_path, {"manual": {**MANUAL, "stop_strings": ["STOP"]}})
        prompt, text, end = ask(worker, 1, HELLO)
        assert (prompt, text) == ("<U>hello</U><A>", "one ")
        assert end.stop_reason == "stopStringFound"
        assert ask(worker, 2, RawPrompt("<U>hello</U><A>"))[1] == "one STOP two"


def test_stop_strings_of_a_template_join_those_of_the_request(tmp_path: Path) -> None:
    with open_worker() as worker:
        load(worker, tmp_path, {"manual": {**MANUAL, "stop_strings": ["two"]}})
        assert ask(worker, 1, HELLO)[1] == "one STOP "
        worker.start(2, HELLO, stop_strings=("ne",))
        steps = worker.until(lambda step: any(part.events for part in step.sequences))
        texts = [event.text for event in events_of(steps, 2) if isinstance(event, MessageDelta)]
        assert texts in ([], ["o"])


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("a\nb{% for %}", "line 2: "),
        ("{% include 'x' %}{{", "line 1: "),
        ("{{ messages | nothing }}", "line 1: No filter named 'nothing'"),
    ],
)
def test_a_template_that_is_none_fails_the_load_with_its_line(
    tmp_path: Path, source: str, reason: str
) -> None:
    with open_worker() as worker:
        failed = load(worker, tmp_path, {"jinja": source})
    assert isinstance(failed, LoadFailed)
    assert (failed.error.code, failed.error.param) == ("setting_refused", "prompt_template")
    assert reason in failed.error.message


def test_a_model_that_makes_embeddings_has_no_use_for_a_template(tmp_path: Path) -> None:
    with open_worker() as worker:
        failed = worker.load(
            make_tiny_bert(gguf.PoolingType.MEAN).write(tmp_path / "bert.gguf"),
            engine="llama_cpp",
            prompt_template={"name": "chatml"},
        )
    assert isinstance(failed, LoadFailed)
    assert (failed.error.code, failed.error.param) == ("setting_refused", "prompt_template")


def test_a_model_without_a_template_says_what_to_write(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, script({"pieces": ["x"]}, chat_template=None))
    with open_worker(spec.path) as worker:
        worker.start(1, HELLO)
        steps = worker.until(lambda step: any(part.error for part in step.sequences))
        error = parts_of(steps, 1)[-1].error
    assert error is not None and error.code == "template_failed"
    assert error.hint is not None and "`prompt_template: {name: chatml}`" in error.hint
