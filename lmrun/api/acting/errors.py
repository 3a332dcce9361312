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
)

TOOL_ERRORS: tuple[type[LmrunError], ...] = (
    BudgetExceeded,
    McpError,
    McpNotApproved,
    McpProtocol,
    McpUnreachable,
    OutboundFailed,
    OutboundRefused,
)
