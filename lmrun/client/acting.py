"""`lmrun.act`: a task that a model of a running server does with tools.

Python functions run here, in the caller's process; tools that the profile declares run on the
server. It knows no terminal.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from pydantic import ValidationError

from lmrun.chat.messages import Message
from lmrun.chat.request import Request
from lmrun.client.functions import Functions, Trust
from lmrun.client.http import Server
from lmrun.client.model import HttpModel
from lmrun.errors import InvalidParameter, LmrunError, ServerUnreachable
from lmrun.settings.prediction import PredictionConfig
from lmrun.tools.act.events import ActEnd, ActEvent
from lmrun.tools.act.limits import Limits
from lmrun.tools.act.loop import act as run_rounds
from lmrun.tools.act.stream import RunEvent, RunStarted
from lmrun.tools.mcp.reports import ElicitationAsked, ElicitationClosed
from lmrun.tools.tool import Caller

BASE_URL = "http://127.0.0.1:1234"
MAX_ROUNDS = Limits().max_rounds

Task = str | Sequence[Mapping[str, str]]
"""A text, or messages `{"role": "user", "content": "…"}`, the last one the user's."""

_ROLES = ("system", "user", "assistant")


def act(
    model: str,
    task: Task,
    tools: Sequence[Callable[..., Any] | str] = (),
    *,
    base_url: str = BASE_URL,
    api_key: str | None = None,
    max_rounds: int = MAX_ROUNDS,
    preset: str | None = None,
    context: Sequence[str] = (),
    on_event: Callable[[ActEvent], object] | None = None,
    **prediction: Any,
) -> ActEnd:
    """Have `model` do `task`, in as many rounds as it takes; its answer is the result's `text`.

    `tools`: Python functions, which run in this process, each described by its signature, type
    hints and docstring; or names of tools that the server's profile declares (`add`,
    `mcp/time/*`), which run there; not both. `preset`: one of the profile, or an MCP server's
    prompt (`mcp/docs/review`); `context`: MCP resources to begin with (`mcp/docs/file:///a.md`);
    the server reads them, so there are no functions then. `on_event` hears of everything as it
    happens.
    `prediction`: settings as in a profile's preset: temperature=0, max_tokens=200, seed=7.

    Raises BudgetExceeded, InvalidParameter for what cannot be asked, ServerUnreachable, and
    LmrunError for what the server refuses. Must not be called where an event loop runs:
    `act_async` is for that.
    """
    work = act_async(
        model,
        task,
        tools,
        base_url=base_url,
        api_key=api_key,
        max_rounds=max_rounds,
        preset=preset,
        context=context,
        on_event=on_event,
        **prediction,
    )
    if _is_in_loop():
        work.close()
        raise LmrunError(
            "lmrun.act waits, and would stop the event loop that runs here.",
            hint="Write `await lmrun.act_async(…)`.",
        )
    return asyncio.run(work)


async def act_async(
    model: str,
    task: Task,
    tools: Sequence[Callable[..., Any] | str] = (),
    *,
    base_url: str = BASE_URL,
    api_key: str | None = None,
    max_rounds: int = MAX_ROUNDS,
    preset: str | None = None,
    context: Sequence[str] = (),
    on_event: Callable[[ActEvent], object] | None = None,
    **prediction: Any,
) -> ActEnd:
    """As `act`, inside an event loop. Cancelling it stops the model and the tools."""
    server = Server(base_url, api_key)
    messages = read_task(task)
    settings = _read_prediction(prediction)
    names = [tool for tool in tools if isinstance(tool, str)]
    functions = [tool for tool in tools if not isinstance(tool, str)]
    if functions:
        _require_local(getattr(functions[0], "__name__", "it"), names, preset, context)
    if names or preset is not None or context:
        body = _make_body(model, messages, names, max_rounds, settings)
        if preset is not None:
            body["preset"] = preset
        if context:
            body["context"] = list(context)
        events = _run_on_server(server, body)
    else:
        events = run_rounds(
            HttpModel(server, model),
            Request(messages),
            settings,
            Functions(functions),
            gate=Trust(),
            caller=Caller("python", model=model),
            limits=Limits(max_rounds=max_rounds),
        )
    return await _hear(events, on_event)


def read_task(task: Task) -> tuple[Message, ...]:
    """The conversation. Raises InvalidParameter for what is none."""
    if isinstance(task, str):
        return (Message("user", task),)
    messages = tuple(_read_message(index, message) for index, message in enumerate(task))
    if not messages:
        raise InvalidParameter("task: it is empty; say what to do.", param="task")
    return messages


def _read_message(index: int, message: Mapping[str, str]) -> Message:
    role, content = message.get("role"), message.get("content")
    if role not in _ROLES or not isinstance(content, str) or len(message) != 2:
        raise InvalidParameter(
            f'task[{index}]: it is not of the form {{"role": "user", "content": "…"}}.',
            param=f"task[{index}]",
            hint=f"Roles are {', '.join(_ROLES)}.",
        )
    return msgspec.convert({"role": role, "content": content}, Message)


def _read_prediction(given: Mapping[str, Any]) -> PredictionConfig:
    try:
        return PredictionConfig.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidParameter(f"{field}: {first['msg']}.", param=field) from None


def _require_local(
    function: str, names: Sequence[str], preset: str | None, context: Sequence[str]
) -> None:
    """Raises InvalidParameter for what only the server has, beside a function that runs here."""
    elsewhere = {"tools": names, "preset": preset, "context": context}
    for param, value in elsewhere.items():
        if value:
            raise InvalidParameter(
                f"{param}: functions run here; tools of the profile, presets and context are the "
                "server's. A run has the ones or the others.",
                param=param,
                hint=f"Declare {function} in the profile, or leave `{param}` to the server's runs.",
            )


def _make_body(
    model: str,
    messages: Sequence[Message],
    tools: Sequence[str],
    max_rounds: int,
    prediction: PredictionConfig,
) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": it.role, "content": it.content} for it in messages],
        "tools": list(tools),
        "limits": {"max_rounds": max_rounds},
        "prediction": prediction.model_dump(mode="json", exclude_unset=True),
        "stream": True,
    }


async def _run_on_server(server: Server, body: Mapping[str, Any]) -> AsyncGenerator[ActEvent, None]:
    async with aclosing(server.post("/lmrun/v1/act", body)) as answer:
        async for data in answer:
            event = _decode(data)
            if not isinstance(event, RunStarted | ElicitationAsked | ElicitationClosed):
                yield event


def _decode(data: bytes) -> RunEvent:
    try:
        event: RunEvent = msgspec.json.decode(data, type=RunEvent)
    except msgspec.MsgspecError as error:
        raise LmrunError(f"The server's answer is not a run's: {error}.") from error
    return event


async def _hear(
    events: AsyncGenerator[ActEvent, None], on_event: Callable[[ActEvent], object] | None
) -> ActEnd:
    async with aclosing(events):
        async for event in events:
            if on_event is not None:
                on_event(event)
            if isinstance(event, ActEnd):
                return event
    raise ServerUnreachable("The connection ended before the run had.")


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
