"""`lmrun chat`: one question, its answer streamed. It knows HTTP only through the client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TextIO

from lmrun.cli.client import Control, list_names, stream_chat
from lmrun.cli.failures import closest
from lmrun.cli.terminal import Terminal, paint
from lmrun.errors import LmrunError, ServerUnreachable
from lmrun.reconcile.status import Status
from lmrun.store.home import Home


@dataclass(frozen=True, slots=True)
class Question:
    """What the command line asked. None leaves a setting to the model's preset."""

    prompt: str
    model: str | None = None
    system: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None


def chat(question: Question, *, api_key: str | None, terminal: Terminal, home: Home) -> None:
    """Stream the answer to stdout. Leaving early, by Ctrl-C, stops the generation."""
    control = Control(home.control_socket)
    if not control.is_listening():
        raise ServerUnreachable("lmrun is not running.", hint="`lmrun apply PROFILE` starts it.")
    found = control.status()
    address = found.server.address
    if address is None:
        raise LmrunError("The server does not listen.", hint="`lmrun status` shows why.")
    model = choose_model(question.model, found, lambda: list_names(address, api_key))
    chunks = stream_chat(address, make_request(question, model), api_key)
    with closing(chunks):
        reason = _show_answer(chunks, terminal)
    if reason == "length":
        terminal.tell(
            paint("The answer was cut off: --max-tokens, or the context, is used up.", "dim")
        )


def _show_answer(chunks: Iterable[dict[str, Any]], terminal: Terminal) -> str | None:
    """Write the text as it comes and return the finish reason."""
    reason = None
    has_begun = False
    try:
        for chunk in chunks:
            for choice in chunk.get("choices", ()):
                text = choice.get("delta", {}).get("content") or ""
                has_begun = has_begun or bool(text)
                terminal.stream(text)
                reason = choice.get("finish_reason") or reason
    finally:
        if has_begun:
            terminal.stream("\n")
    return reason


def make_request(question: Question, model: str) -> dict[str, Any]:
    """The body of POST /v1/chat/completions; what nobody chose is not in it."""
    messages, settings = make_messages(question), choose_settings(question)
    return {"model": model, "messages": messages, "stream": True, **settings}


def make_messages(question: Question) -> list[dict[str, str]]:
    """The conversation that it begins."""
    messages = [{"role": "user", "content": question.prompt}]
    if question.system is not None:
        messages.insert(0, {"role": "system", "content": question.system})
    return messages


def choose_settings(question: Question) -> dict[str, Any]:
    """The prediction settings that somebody chose, by name."""
    settings = {
        "temperature": question.temperature,
        "max_tokens": question.max_tokens,
        "seed": question.seed,
    }
    return {name: value for name, value in settings.items() if value is not None}


def choose_model(
    wanted: str | None, found: Status, list_others: Callable[[], Iterable[str]] = tuple
) -> str:
    """The model to ask: the one named, or the only one that is ready. `list_others`: what else may
    be named, which the status does not know: agents. Raises LmrunError."""
    instances = [instance for model in found.models for instance in model.instances]
    known = {model.key for model in found.models} | {it.identifier for it in instances}
    ready = [instance.identifier for instance in instances if instance.state == "ready"]
    if wanted is None:
        if len(ready) == 1:
            return ready[0]
        problem = "Several models are ready" if ready else "No model is ready"
        raise LmrunError(f"{problem}.", hint=_hint_at_models(ready, found))
    if wanted in known:
        return wanted
    known |= set(list_others())
    if wanted in known:
        return wanted
    match = closest(wanted, known)
    hint = f"Did you mean {match}?" if match else f"There is: {', '.join(sorted(known)) or 'none'}."
    raise LmrunError(f"No model is called {wanted}.", hint=hint)


def _hint_at_models(ready: Sequence[str], found: Status) -> str:
    """Which to name."""
    if ready:
        return f"Choose one with -m: {', '.join(ready)}."
    on_demand = [model.key for model in found.models if model.state == "on_demand"]
    if on_demand:
        return f"Choose one with -m that is loaded on demand: {', '.join(on_demand)}."
    return "See `lmrun status`."


def read_prompt(words: Sequence[str], stdin: TextIO) -> str:
    """The words of the command line, then whatever was piped in; empty when there is neither."""
    parts = [" ".join(words)]
    if not stdin.isatty():
        # As the command line itself is read: what is no UTF-8 is refused when it is sent.
        parts.append(stdin.buffer.read().decode(errors="surrogateescape").rstrip("\n"))
    return "\n\n".join(part for part in parts if part.strip())
