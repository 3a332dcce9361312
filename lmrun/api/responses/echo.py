"""What a response says about its request. Pure; it knows no generation.

Format: `Response` of OpenAI's reference.
"""

from __future__ import annotations

from typing import Any

from lmrun.api.responses.answers.bodies import ResponseBody
from lmrun.api.responses.requests.bodies import ResponseRequest
from lmrun.api.responses.requests.mcp import McpTool
from lmrun.api.responses.requests.tools import FunctionTool
from lmrun.settings.prediction import PredictionConfig


def make_body(
    request: ResponseRequest,
    json: dict[str, Any],
    prediction: PredictionConfig,
    *,
    id: str,
    model: str,
    created_at: int,
) -> ResponseBody:
    """A response that is in progress.

    `json`: the request as it came; `prediction`: what is in force, the instance's own settings
    included.
    """
    text = json.get("text") or {}
    return ResponseBody(
        id=id,
        created_at=created_at,
        model=model,
        instructions=request.instructions,
        previous_response_id=request.previous_response_id,
        tools=[_show_tool(tool) for tool in request.tools or ()],
        tool_choice=json.get("tool_choice") or "auto",
        parallel_tool_calls=request.parallel_tool_calls is not False,
        reasoning={"effort": request.reasoning and request.reasoning.effort, "summary": None},
        text={"format": text.get("format") or {"type": "text"}, "verbosity": "medium"},
        truncation="disabled" if prediction.context_overflow_policy == "stopAtLimit" else "auto",
        temperature=prediction.temperature,
        top_p=prediction.top_p,
        top_logprobs=request.top_logprobs or 0,
        max_output_tokens=request.max_output_tokens,
        max_tool_calls=request.max_tool_calls,
        metadata=request.metadata or {},
        store=is_stored(request),
        user=request.user,
        safety_identifier=request.safety_identifier,
        prompt_cache_key=request.prompt_cache_key,
    )


def is_stored(request: ResponseRequest) -> bool:
    """OpenAI stores what nobody asked not to store."""
    return request.store is not False


def _show_tool(tool: FunctionTool | McpTool) -> dict[str, Any]:
    if isinstance(tool, FunctionTool):
        shown = {"type", "name", "description", "parameters", "strict"}
        return tool.model_dump(include=shown)
    # Neither headers nor tokens: they are somebody's credentials.
    return {
        "type": "mcp",
        "server_label": tool.server_label,
        "server_url": tool.server_url,
        "allowed_tools": tool.model_dump()["allowed_tools"],
        "require_approval": tool.model_dump()["require_approval"] or "always",
    }
