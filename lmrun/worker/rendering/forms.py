"""Which form of messages a template takes, found by trying: templates do not say it, and many leave
out without a word what comes in another form. It knows no model by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import takewhile

from lmrun.chat.messages import Conversation, ImagePart, Message, TextPart, Tool, ToolCall
from lmrun.worker.rendering.shapes import Form

Render = Callable[[Conversation, Form], str]
"""The prompt of a conversation whose messages are put in a form. It may raise anything."""

_ASKS, _WONDERS = "lmrun asks", "lmrun wonders"
_LONGEST_IMAGE = 2_000
"""Characters; what is longer is no place for a picture."""
_TAGS = ("<>", "[]")
_TOOL = Tool("lmrun_tool", "Tells lmrun.", {"type": "object", "properties": {}})
_ARGUMENTS = '{"lmrun_key": "lmrun value"}'
_CALL = ToolCall("lmrun0001", "lmrun_tool", _ARGUMENTS)  # Mistral's ids have nine characters.


def find_form(render: Render) -> Form:
    """The form in which the template behind `render` shows what is in a conversation."""
    plain = Form()
    lists = replace(plain, lists=True)
    form = lists if not _shows_text(render, plain) and _shows_text(render, lists) else plain
    form = _with_calls(render, form)
    return replace(form, image=_find_image(render, form))


def _shows_text(render: Render, form: Form) -> bool:
    text = _try(render, Conversation((Message("user", _ASKS),)), form)
    return text is not None and _ASKS in text


def _with_calls(render: Render, form: Form) -> Form:
    """The first of the forms of calls in which they are seen; `form` when none is."""
    conversation = Conversation(
        (
            Message("user", _ASKS),
            Message("assistant", "", tool_calls=(_CALL,)),
            Message("tool", "lmrun answers", tool_call_id=_CALL.id, name=_CALL.name),
        ),
        tools=(_TOOL,),
    )
    objects = (form, replace(form, empty=None))
    texts = tuple(replace(each, arguments="text") for each in objects)
    for candidate in (*objects, *texts):
        text = _try(render, conversation, candidate)
        if text is not None and _shows_call(text, candidate):
            return candidate
    return form


def _shows_call(text: str, form: Form) -> bool:
    if form.arguments == "text":
        return _ARGUMENTS in text
    # An object that is written without `tojson` has Python's quotes.
    return "lmrun value" in text and "{'lmrun_key'" not in text


def _find_image(render: Render, form: Form) -> str | None:
    """What the template writes for a picture, the same for each, or None."""
    form = replace(form, image="")
    ask, wonder, picture = TextPart(_ASKS), TextPart(_WONDERS), ImagePart(b"")
    none = _try(render, _user(ask, wonder), form)
    one = _try(render, _user(ask, picture, wonder), form)
    two = _try(render, _user(ask, picture, picture, wonder), form)
    if none is None or one is None or two is None or _is_data(one):
        return None
    # Without the space around it, which need not be the same everywhere.
    candidates = [it.strip() for it in _rotate(_find_addition(one, two))]
    found = [
        it for it in candidates if it and [text.count(it) for text in (none, one, two)] == [0, 1, 2]
    ]
    # Where all around are tags, several fit; a whole tag is meant.
    return next((it for it in found if it[0] + it[-1] in _TAGS), next(iter(found), None))


def _user(*parts: TextPart | ImagePart) -> Conversation:
    return Conversation((Message("user", parts),))


def _is_data(text: str) -> bool:
    """Whether the list of parts itself is shown, by a template that knows only text."""
    return "'type'" in text or '"type"' in text


def _find_addition(before: str, after: str) -> str:
    """What was put into `before` at one place; empty when more has changed, or very much.

    What follows may begin like it: then its end stands first, and its beginning last.
    """
    begin = _count_common(before, after)
    end = len(before) - begin
    addition = after[begin : len(after) - end]
    is_all = after.endswith(before[begin:])
    return addition if is_all and len(addition) <= _LONGEST_IMAGE else ""


def _rotate(text: str) -> Iterator[str]:
    """`text`, and what it becomes when its last character is put first, again and again."""
    for end in range(len(text), 0, -1):
        yield text[end:] + text[:end]


def _count_common(one: str, other: str) -> int:
    """Characters at the beginning of both."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _try(render: Render, conversation: Conversation, form: Form) -> str | None:
    try:
        return render(conversation, form)
    except Exception:  # foreign code: it may raise anything
        return None
