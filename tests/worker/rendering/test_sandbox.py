"""Chat templates: rendered as Hugging Face does, and harmless when they are hostile."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import pytest

from lmrun.chat.messages import Conversation, Message, Tool
from lmrun.errors import ContextOverflow, TemplateFailed
from lmrun.worker.rendering import environment, templates
from lmrun.worker.rendering.client import TemplateRenderer
from lmrun.worker.rendering.exchange import Template

CHATML = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
HELLO = Conversation((Message(role="user", content="hello"),))


@contextmanager
def renderer(source: str) -> Iterator[TemplateRenderer]:
    given = TemplateRenderer(Template(source, "<s>", "</s>"))
    try:
        yield given
    finally:
        given.close()


def render(source: str) -> str:
    template = environment.compile_template(source)
    messages = [{"role": "user", "content": "hello"}]
    return templates.render(template, messages, {"bos_token": "<s>", "eos_token": "</s>"})


def test_a_conversation_that_is_too_long_is_not_the_templates_fault() -> None:
    with renderer(CHATML) as given:
        with pytest.raises(ContextOverflow, match="a prompt of more than 4000000 bytes"):
            given.render(Conversation((Message(role="user", content="a" * 4_000_001),)))
        assert given.render(HELLO).startswith("<|user|>hello")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (CHATML, "<|user|>hello\n<|assistant|>"),
        ("{{ bos_token }}{{ eos_token }}", "<s></s>"),
        ("{{ {'a': '<é>'} | tojson }}", '{"a": "<é>"}'),
        ("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, indent=1) }}", '{\n "a": 2,\n "b": 1\n}'),
        ("{% for x in range(9) %}{% if x > 2 %}{% break %}{% endif %}{{ x }}{% endfor %}", "012"),
        ("  {% if true %}\nx\n  {% endif %}\n", "x\n"),
        ("{{ tools is defined }}", "False"),
        ("{{ 'ab' * 3 }}{{ 2 ** 10 }}{{ '%s!' % 'x' }}", "ababab1024x!"),
        ("{{ '' | attr('__class__') }}", ""),
    ],
)
def test_templates_render_as_their_authors_expect(source: str, expected: str) -> None:
    assert render(source) == expected


def test_the_clock_is_the_only_thing_a_template_sees_of_the_world() -> None:
    assert render("{{ strftime_now('%Y') }}") == str(datetime.now().year)


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ().__class__.__bases__[0] }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__['os'].environ }}",
    "{{ namespace().__init__.__globals__ }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__globals__['__builtins__'] }}",
    "{{ self.__init__.__globals__ }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({'role': 'system'}) }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{{ ''|attr('__class__')|attr('__mro__') }}{{ messages.__class__.x }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_the_sandbox_lets_nothing_out(source: str) -> None:
    try:
        shown = render(source)
    except (jinja2.TemplateError, TypeError):
        return
    assert shown == ""


HOSTILE = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}"
    "{% endfor %}{% endfor %}",
    "a text of 4 GB": "{{ 'a' * 4000000000 }}",
    "a list of 4 GB": "{{ [0] * 4000000000 }}",
    "a number without end": "{{ 9 ** (9 ** 9) }}",
    "a text that doubles": "{% set n = namespace(s='aaaa') %}{% for i in range(99) %}"
    "{% set n.s = n.s ~ n.s %}{% endfor %}",
    "a block that doubles": "{% macro d(s) %}{{ s }}{{ s }}{% endmacro %}"
    "{% set n = namespace(s='aaaa') %}{% for i in range(99) %}{% set n.s = d(n.s) %}{% endfor %}",
    "a list that doubles": "{% set n = namespace(s=[0]) %}{% for i in range(99) %}"
    "{% set n.s = n.s + n.s %}{% endfor %}",
    "wide padding": "{{ 'a' | center(4000000000) }}",
    "wide formatting": "{{ '{:>4000000000}'.format('a') }}",
    "wide old formatting": "{{ '%4000000000d' % 1 }}",
    "replacing everything": "{{ ('a' * 4000000) | replace('a', 'b' * 4000000) }}",
    "quadratic lists": "{% set n = namespace(s=[]) %}{% for i in range(99999) %}"
    "{% set n.s = n.s + [range(99999)|list] %}{% endfor %}",
    "a macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "deep parentheses": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "an endless output": "{% for a in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
    "a range that is too long": "{{ range(10 ** 9) }}",
    "its own error": "{{ raise_exception('roles must alternate') }}",
    "wrong syntax": "{% for %}",
    "too long a source": "x" * (environment.MAX_SOURCE_BYTES + 1),
    "half a surrogate pair": "{{ '\\ud800' }}",
    "a missing variable": "{{ nothing.at.all }}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_fails_within_two_seconds(name: str) -> None:
    with renderer(HOSTILE[name]) as given:
        given.start()
        started = time.monotonic()
        with pytest.raises(TemplateFailed, match=r"^The model's chat template failed: .+\.$"):
            given.render(HELLO)
        assert time.monotonic() - started < 2.0


def nest(levels: int) -> dict[str, Any]:
    """A schema inside a schema, so many times."""
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def ask(*tools: Tool, **variables: Any) -> Conversation:
    return Conversation(HELLO.messages, tools=tools, variables=variables)


BOMBS = {
    "a tool that nests": ("{{ tools | tojson }}", ask(Tool("deep", None, nest(990)))),
    "a tool that nests beyond what is sent": ("", ask(Tool("deep", None, nest(100_000)))),
    "a tool that is shown too often": (
        "{% for tool in tools %}{{ tools | tojson }}{% endfor %}",
        ask(*[Tool(f"tool{n}", "long " * 1000) for n in range(40)]),
    ),
    "a tool's name as a format": (
        "{% for tool in tools %}{{ tool.function.name.format(1) }}{% endfor %}",
        ask(Tool("{:>4000000000}")),
    ),
    "a number that repeats text": ("{{ 'a' * n }}", ask(n=10**10)),
    "a number that is a range": ("{% for _ in range(n) %}{% endfor %}", ask(n=10**10)),
    "a number that is a width": ("{{ '%*d' % (n, 1) }}", ask(n=2 * 10**9)),
    "numbers to the power of each other": ("{{ n ** n }}", ask(n=10**9)),
    "a list that is crossed with itself": (
        "{% for _ in l %}{% for _ in l %}{% endfor %}{% endfor %}",
        ask(l=[0] * 100_000),
    ),
    "a text that replaces itself": ("{{ t | replace('a', t) }}", ask(t="a" * 100_000)),
    "a text that is wrapped by its letters": ("{{ t | wordwrap(1) }}" * 9, ask(t="a" * 10**6)),
    "a list that is joined by a book": ("{{ l | join(t) }}", ask(l=[0] * 10_000, t="a" * 10**5)),
    "a list that is indented for ever": ("{{ l | tojson(indent=9999) }}", ask(l=[[0] * 9] * 999)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_hostile_conversation_fails_within_two_seconds(name: str) -> None:
    source, conversation = BOMBS[name]
    with renderer(source) as given:
        given.start()
        started = time.monotonic()
        with pytest.raises(TemplateFailed):
            given.render(conversation)
        assert time.monotonic() - started < 2.0


def test_what_a_conversation_says_is_never_code() -> None:
    text = "{{ 7 * 6 }}{% raw %}{{ raise_exception('no') }}"
    conversation = Conversation(
        (Message("user", text),), tools=(Tool(text),), variables={"more": text}
    )
    source = "{{ messages[0].content }}|{{ tools[0].function.name }}|{{ more }}"
    with renderer(source) as given:
        assert given.render(conversation) == f"{text}|{text}|{text}"


def test_variables_replace_nothing_that_is_said() -> None:
    source = "{{ messages[0].content }} {{ tools }} {{ add_generation_prompt }} {{ bos_token }}"
    conversation = ask(messages=[], tools=[1], add_generation_prompt=False, bos_token="<b>")
    with renderer(source) as given:
        assert given.render(conversation) == "hello None True <b>"


def test_reasons_are_for_people() -> None:
    reasons = {}
    for name in ("nested loops", "wide formatting", "its own error", "wrong syntax"):
        with renderer(HOSTILE[name]) as given, pytest.raises(TemplateFailed) as caught:
            given.render(HELLO)
        reasons[name] = caught.value.message.partition(": ")[2]
    assert reasons["nested loops"] == "it took longer than a second."
    assert reasons["wide formatting"] == "it needs more than 256 MiB of memory."
    assert reasons["its own error"] == "roles must alternate."
    assert reasons["wrong syntax"].startswith("line 1: ")


def test_the_renderer_works_after_its_process_had_to_be_ended() -> None:
    source = "{% if messages[0].content == 'hang' %}" + HOSTILE["nested loops"] + "{% endif %}ok"
    with renderer(source) as given:
        with pytest.raises(TemplateFailed):
            given.render(Conversation((Message(role="user", content="hang"),)))
        assert given.render(HELLO) == "ok"


def test_a_large_conversation_renders() -> None:
    text = "€" * 1_000_000
    with renderer(CHATML) as given:
        assert text in given.render(Conversation((Message(role="user", content=text),)))


def test_no_process_is_left_behind() -> None:
    with renderer(CHATML) as given:
        given.render(HELLO)
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
        before = children.read_text().split() if children.exists() else ["?"]
        assert before
    assert not children.exists() or children.read_text().split() == []
