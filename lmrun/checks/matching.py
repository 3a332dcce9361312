"""Whether an answer is what one expectation wants. Pure: each function is a rule."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lmrun.checks.differing import shorten, show_difference
from lmrun.checks.values import Answer, Call, Failure, Reply
from lmrun.settings.check import Expectations, ExpectedCall
from lmrun.settings.json_schema import find_fault


def find_failures(expect: Expectations, reply: Reply) -> Iterator[Failure]:
    """Every expectation that one reply alone can break, in the order of the profile's fields."""
    for rule in _RULES:
        yield from rule(expect, reply)


def compare(expectation: str, message: str, expected: Answer, got: Answer) -> Failure | None:
    """The failure when two answers are not the same in every part; None when they are."""
    if expected == got:
        return None
    return Failure(expectation, message, show_difference(_write(expected), _write(got)))


def _write(answer: Answer) -> str:
    """An answer as text: only what it said, where it said nothing else."""
    if not (answer.reasoning or answer.tool_calls) and answer.finish_reason == "stop":
        return answer.text
    lines = [f"reasoning: {answer.reasoning}"] if answer.reasoning else []
    lines += [answer.text] if answer.text else []
    lines += [f"calls {call.name}({call.arguments})" for call in answer.tool_calls]
    return "\n".join([*lines, f"finish_reason: {answer.finish_reason}"])


def _judge_equals(expect: Expectations, reply: Reply) -> Iterator[Failure]:
    text = reply.answer.text
    if expect.equals is not None and text != expect.equals:
        message = "the answer is another one"
        yield Failure("equals", message, show_difference(expect.equals, text))


def _judge_contains(expect: Expectations, reply: Reply) -> Iterator[Failure]:
    text = reply.answer.text
    for wanted in expect.contains or ():
        if wanted not in text:
            message = f"{shorten(wanted)!r} is not in the answer"
            yield Failure("contains", message, _quote(text))
    for unwanted in expect.not_contains or ():
        if unwanted in text:
            message = f"{shorten(unwanted)!r} is in the answer"
            yield Failure("not_contains", message, _quote(text))


def _judge_regex(expect: Expectations, reply: Reply) -> Iterator[Failure]:
    if expect.regex is not None and re.search(expect.regex, reply.answer.text) is None:
        message = f"{shorten(expect.regex)!r} matches nowhere in the answer"
        yield Failure("regex", message, _quote(reply.answer.text))


def _judge_schema(expect: Expectations, reply: Reply) -> Iterator[Failure]:
    if expect.json_schema is None:
        return
    try:
        value = json.loads(reply.answer.text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        message = f"the answer is no JSON: {error}"
        yield Failure("json_schema", message, _quote(reply.answer.text))
        return
    fault = find_fault(value, expect.json_schema)
    if fault is not None:
        yield Failure("json_schema", fault, _quote(reply.answer.text))


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _judge_call(expect: Expectations, reply: Reply) -> Iterator[Failure]:
    wanted = expect.tool_call
    calls = reply.answer.tool_calls
    if wanted is None or any(_fits(wanted, call) for call in calls):
        return
    if not calls:
        yield Failure("tool_call", "no tool is called", _quote(reply.answer.text))
        return
    made = "\n".join(f"  {call.name}({shorten(call.arguments)})" for call in calls)
    arguments = json.dumps(wanted.arguments, ensure_ascii=False)
    message = f"no call is one of {wanted.name} with {shorten(arguments)}; called were"
    yield Failure("tool_call", message, made)


def _fits(wanted: ExpectedCall, call: Call) -> bool:
    if call.name != wanted.name:
        return False
    try:
        return contains(json.loads(call.arguments), wanted.arguments)
    except (ValueError, RecursionError):
        return False


def contains(value: Any, part: Any) -> bool:
    """Whether `value` is `part`, but for further members of its mappings. `true` is no 1."""
    if isinstance(part, Mapping):
        return isinstance(value, Mapping) and all(
            name in value and contains(value[name], inner) for name, inner in part.items()
        )
    if isinstance(part, list | tuple):
        return (
            isinstance(value, list) and len(value) == len(part) and all(map(contains, value, part))
        )
    return isinstance(value, bool) == isinstance(part, bool) and bool(value == part)


def _judge_end(expect: Expectations, reply: Reply) -> Iterator[Failure]:
    reason = reply.answer.finish_reason
    if expect.finish_reason not in (None, reason):
        yield Failure("finish_reason", f"it is {reason}, not {expect.finish_reason}")


def _judge_times(expect: Expectations, reply: Reply) -> Iterator[Failure]:
    if expect.max_ttft is not None:
        if reply.ttft_s is None:
            yield Failure("max_ttft", "no token came")
        elif reply.ttft_s > expect.max_ttft:
            message = f"the first token came after {reply.ttft_s:.3g} s, not {expect.max_ttft:g}"
            yield Failure("max_ttft", message)
    if expect.min_tokens_per_second is not None:
        speed = reply.tokens_per_second
        if speed is None:
            message = f"{reply.completion_tokens} tokens are too few to measure"
            yield Failure("min_tokens_per_second", message)
        elif speed < expect.min_tokens_per_second:
            message = f"{speed:.3g} tokens a second, not {expect.min_tokens_per_second:g}"
            yield Failure("min_tokens_per_second", message)


def _quote(text: str) -> str:
    return f"  {shorten(text)}" if text else "  (no text)"


_RULES: Sequence[Callable[[Expectations, Reply], Iterator[Failure]]] = (
    _judge_equals,
    _judge_contains,
    _judge_regex,
    _judge_schema,
    _judge_call,
    _judge_end,
    _judge_times,
)
