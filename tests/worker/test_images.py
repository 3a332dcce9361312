"""Pictures in a worker: from a conversation to tokens, or to an error that names the picture."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from lmrun.chat.events import ChatEnd, PromptText
from lmrun.chat.messages import Conversation, ImagePart, Message, TextPart
from lmrun.engines.base import Attachments
from lmrun.errors import TemplateFailed
from lmrun.worker.frames import Generate, Loaded, LoadFailed, Step, WireError
from lmrun.worker.prompts import interleave
from lmrun.worker.rendering import templates
from tests.support.instances import make_spec, script
from tests.support.pictures import encode, noise
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_vision import write_tiny_projector
from tests.support.worker import Worker, events_of, open_worker, parts_of

PICTURE = encode(noise(1200, 900), "WEBP", lossless=True)
LISTS_ONLY = (
    "{% for m in messages %}{% for part in m.content %}"
    "{% if part.type == 'text' %}{{ m.role }}: {{ part.text }}\n{% endif %}"
    "{% endfor %}{% endfor %}"
)
STRINGS = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
BOTH = (
    "{% for m in messages %}{% if m.content is string %}{{ m.role }}: {{ m.content }}\n"
    "{% else %}{% for part in m.content %}[{{ part.text }}]{% endfor %}{% endif %}{% endfor %}"
)


def show(*images: bytes) -> Conversation:
    parts: tuple[TextPart | ImagePart, ...] = (TextPart("What is this? "),)
    parts += tuple(map(ImagePart, images))
    return Conversation((Message("system", "Be brief."), Message("user", parts)))


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("seeing")
    with open_worker(timeout_s=20.0) as worker:
        loaded = worker.load(
            write_tiny_llama(folder / "text.gguf", seed=1),
            engine="llama_cpp",
            attachments=Attachments(mmproj=str(write_tiny_projector(folder / "eye.gguf"))),
        )
        assert isinstance(loaded, Loaded) and loaded.info.accepts_images
        yield worker


def answer(worker: Worker, sequence: int, prompt: Conversation) -> ChatEnd | WireError:
    """How a sequence ended."""
    worker.start(sequence, prompt, temperature=0, max_tokens=3)

    def is_over(step: Step) -> bool:
        return any(
            part.error is not None or any(isinstance(event, ChatEnd) for event in part.events)
            for part in step.sequences
        )

    steps = worker.until(is_over)
    for part in parts_of(steps, sequence):
        if part.error is not None:
            return part.error
    end = events_of(steps, sequence)[-1]
    assert isinstance(end, ChatEnd)
    return end


def test_a_picture_of_megabytes_is_answered(seeing: Worker) -> None:
    end = answer(seeing, 1, show(PICTURE))
    assert len(PICTURE) > 3_000_000
    assert isinstance(end, ChatEnd) and end.usage.completion_tokens == 3


def test_a_picture_adds_its_positions_to_the_prompt(seeing: Worker) -> None:
    ends = [answer(seeing, 10 + count, show(*[PICTURE] * count)) for count in range(3)]
    lengths = [end.usage.prompt_tokens for end in ends if isinstance(end, ChatEnd)]
    assert [after - before for before, after in pairwise(lengths)] == [16, 16]


@pytest.mark.parametrize("damaged", [b"", b"GIF89a", PICTURE[:1000], bytes(1000)])
def test_a_picture_that_is_none_is_named_and_the_worker_lives(
    seeing: Worker, damaged: bytes
) -> None:
    error = answer(seeing, 20, show(PICTURE, damaged))
    assert isinstance(error, WireError)
    assert (error.code, error.param) == ("invalid_parameter", "images[1]")
    assert isinstance(answer(seeing, 21, show(PICTURE)), ChatEnd)


def test_a_scripted_model_refuses_pictures(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, script({"pieces": ["a"]}, chat_template=STRINGS))
    with open_worker(spec.path) as worker:
        error = answer(worker, 1, show(PICTURE))
    assert isinstance(error, WireError) and error.code == "unsupported_parameter"


def test_a_projector_that_is_none_fails_the_load(tmp_path: Path) -> None:
    text = write_tiny_llama(tmp_path / "text.gguf")
    with open_worker() as worker:
        failed = worker.load(text, engine="llama_cpp", attachments=Attachments(mmproj=str(text)))
    assert isinstance(failed, LoadFailed)
    assert (failed.error.code, failed.error.param) == ("setting_refused", "load.mmproj")


def test_pictures_take_the_places_of_their_marks() -> None:
    assert interleave("a*b**", "*", [b"1", b"2", b"3"]) == ["a", b"1", "b", b"2", "", b"3", ""]


@pytest.mark.parametrize("text", ["a", "a*b*c"], ids=["dropped", "doubled"])
def test_a_template_that_drops_or_doubles_a_picture_fails(text: str) -> None:
    with pytest.raises(TemplateFailed, match="for 1 images"):
        interleave(text, "*", [b"1"])


PLACES = (
    "{% for m in messages %}{{ m.role }}: {% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content | sort(attribute='type') %}{{ part.text or '<img></img>' }}"
    "{% endfor %}{% endif %};{% endfor %}"
)


def test_a_picture_takes_the_place_that_the_template_writes_for_it(tmp_path: Path) -> None:
    """Here all pictures come first, and what stands for them is not read as text."""
    with open_worker(timeout_s=20.0) as worker:
        loaded = worker.load(
            write_tiny_llama(tmp_path / "text.gguf", seed=1),
            engine="llama_cpp",
            attachments=Attachments(mmproj=str(write_tiny_projector(tmp_path / "eye.gguf"))),
            prompt_template={"jinja": PLACES},
        )
        assert isinstance(loaded, Loaded)
        prompt = show(PICTURE, PICTURE)
        worker.send(Generate(1, prompt, {"max_tokens": 1}, reports_prompt="all"))
        steps = worker.until(lambda step: any(part.events for part in step.sequences))
        (text,) = (it.text for it in events_of(steps, 1) if isinstance(it, PromptText))
    assert text == "system: Be brief.;user: [image][image]What is this? ;"


@pytest.mark.parametrize("source", [LISTS_ONLY, STRINGS, BOTH], ids=["lists", "strings", "both"])
def test_a_template_gets_contents_in_the_form_that_it_shows(source: str) -> None:
    render = templates.make_renderer(source, {})
    assert render(Conversation((Message("user", "hi"),)), "") == "user: hi\n"
