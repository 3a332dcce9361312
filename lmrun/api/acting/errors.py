"""What running tools for a request can raise."""

from __future__ import annotations

from lmrun.errors import (
    BudgetExceeded,
    LmrunError,
    McpError,
    McpNotApproved,
    McpProtocol,
    McpUnreachable,
    OutboundFailed,
    OutboundRefused,
    ToolInvalid,
)

TOOL_ERRORS: tuple[type[LmrunError], ...] = (
    BudgetExceeded,
    McpError,
    McpNotApproved,
    McpProtocol,
    McpUnreachable,
    OutboundFailed,
    OutboundRefused,
    ToolInvalid,
)
