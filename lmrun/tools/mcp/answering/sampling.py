"""What a server asks of a model: answered by the one that the profile names, within its budget.

Which model the server would prefer is not looked at: the protocol leaves that to lmrun.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from mcp_types import (
    INVALID_REQUEST,
    CreateMessageRequestParams,
    CreateMessageResult,
    ErrorData,
    TextContent,
)
from pydantic import ValidationError

from lmrun.chat.answer import Answer
from lmrun.chat.events import ChatEnd, StopReason
from lmrun.chat.messages import Message
from lmrun.chat.request import Request
from lmrun.errors import LmrunError, McpProtocol
from lmrun.profile.tooling.mcp import Sampling
from lmrun.settings.prediction import PredictionConfig
from lmrun.tools.mcp.results import make_content
from lmrun.tools.models import Models

_STOP_REASONS: dict[StopReason, str] = {
    "eosFound": "endTurn",
    "stopStringFound": "stopSequence",
    "toolCalls": "endTurn",
}


class Sampler:
    """Answers one server; `spent`: tokens of prompts and answers so far; `timeout_s`: of one."""

    def __init__(self, config: Sampling, models: Models, timeout_s: float) -> None:
        self._config = config
        self._models = models
        self.timeout_s = timeout_s
        self._turn = asyncio.Lock()
        self.spent = 0

    async def answer(self, params: CreateMessageRequestParams) -> CreateMessageResult | ErrorData:
        """The model's answer; ErrorData where the request cannot be honoured, or the budget is used
        up. One at a time."""
        try:
            request, prediction = read_request(params)
        except McpProtocol as error:
            return _refusal(str(error))
        async with self._turn:
            left = self._config.token_budget - self.spent
            if left <= 0:
                return _refusal(f"the budget of {self._config.token_budget} tokens is used up")
            limit = min(params.max_tokens, self._config.max_tokens, left)
            prediction = prediction.model_copy(update={"max_tokens": limit})
            try:
                async with asyncio.timeout(self.timeout_s):
                    return self._make_result(await self._generate(request, prediction))
            except TimeoutError:
                return _refusal(f"the model gave no answer within {self.timeout_s:g} s")
            except LmrunError as error:
                return _refusal(error.message)

    async def _generate(self, request: Request, prediction: PredictionConfig) -> Answer:
        answer = Answer()
        async with (
            self._models.open(self._config.model) as generate,
            aclosing(generate(request, prediction)) as events,
        ):
            async for event in events:
                answer.take(event)
                if isinstance(event, ChatEnd):
                    self.spent += event.usage.prompt_tokens + event.usage.completion_tokens
        return answer

    def _make_result(self, answer: Answer) -> CreateMessageResult:
        reason = answer.end.stop_reason if answer.end is not None else "eosFound"
        return CreateMessageResult(
            role="assistant",
            content=TextContent(text=answer.text),
            model=self._config.model,
            stop_reason=_STOP_REASONS.get(reason, "maxTokens"),
        )


def read_request(params: CreateMessageRequestParams) -> tuple[Request, PredictionConfig]:
    """What the server wants said. Raises McpProtocol for what cannot be honoured."""
    if params.tools or params.tool_choice is not None:
        raise McpProtocol("`tools` are not offered to the model here")
    if params.include_context not in (None, "none"):
        raise McpProtocol("`includeContext` is not supported; send what the model should know")
    if params.max_tokens < 1:
        raise McpProtocol("`maxTokens` must be at least 1")
    messages = [Message(it.role, make_content(it.content_as_list)) for it in params.messages]
    if not messages:
        raise McpProtocol("`messages` is empty")
    if params.system_prompt:
        messages.insert(0, Message("system", params.system_prompt))
    chosen = {
        "max_tokens": params.max_tokens,
        "temperature": params.temperature,
        "stop_strings": params.stop_sequences,
    }
    try:
        prediction = PredictionConfig.model_validate(
            {name: value for name, value in chosen.items() if value is not None}
        )
    except ValidationError as error:
        raise McpProtocol(f"a setting cannot be honoured: {error.errors()[0]['msg']}") from None
    return Request(tuple(messages)), prediction


def _refusal(message: str) -> ErrorData:
    return ErrorData(code=INVALID_REQUEST, message=message)
