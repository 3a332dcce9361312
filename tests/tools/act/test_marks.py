"""Marks around resources that somebody has written so that they hold the mark that ends them."""

from __future__ import annotations

import hashlib
import itertools
import random

from lmrun.chat.messages import Message
from lmrun.tools.act.opening import MARK_LENGTH, ContextItem, Opened, weave

ASKED = Message("user", "What does it say?")


def forge() -> str:
    """A text that holds the first digits of its own digest: of many digits some are right soon."""
    digits = random.Random(1).choices("0123456789abcdef", k=50_000)
    text = "".join(digits)
    begun = hashlib.sha256(text.encode())
    held = {text[n : n + MARK_LENGTH] for n in range(len(text))}
    for nonce in itertools.count():
        tried = begun.copy()
        tried.update(f" {nonce}".encode())
        if tried.hexdigest()[:MARK_LENGTH] in held:
            return f"{text} {nonce}"
    raise AssertionError


def test_a_resource_that_was_made_to_hold_its_mark_has_another_one() -> None:
    text = forge()
    (woven,) = weave((ASKED,), Opened(context=(ContextItem("mcp/docs/note://a", text),)))
    content = str(woven.content)
    mark = content.split()[1]
    assert text in content
    assert mark not in text
    assert content.count(mark) == 2
