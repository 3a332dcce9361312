"""Every error lmrun raises on purpose. It knows no HTTP and no terminal: each door translates.

LmrunError
├── ProfileInvalid          the profile's text is wrong; carries every problem at once
├── ProfileSuperseded       the plan was made against a state that has moved
├── GenerationUnknown       no generation of that number is kept
├── LockMismatch            not what the lock file pins
├── GitFailed               git did not do what it was asked
├── SourceError             where a model comes from
│   ├── SourceInvalid           the reference is not one lmrun understands
│   ├── SourceMissing           nothing lies where it points
│   └── FetchFailed             it could not be brought here
├── ModelInvalid            a model file that must not reach an engine
├── EngineError             what happens in or around a worker
│   ├── EngineMissing           the engine's package is not installed
│   ├── LoadFailed              the engine refused the model
│   ├── SettingRefused          this build or model cannot honour a setting
│   ├── EngineCrashed           the worker died
│   │   └── CrashLoop               too often to be started again
│   ├── EngineHung              the worker's step loop stopped
│   ├── RolledBack              a new version did not work; the old one serves on
│   └── TemplateFailed          the model's chat template cannot render this conversation
├── RequestError            what the client asked for
│   ├── InvalidParameter        a value is wrong
│   ├── UnsupportedParameter    known, but not supported (yet)
│   ├── ContextOverflow         prompt longer than the context
│   ├── ModelNotFound           nobody declared it
│   ├── ModelNotReady           declared, but it cannot answer now
│   ├── QueueFull               too many requests wait already
│   ├── BodyTooLarge
│   ├── Unauthorized            no or an unknown API key
│   └── Forbidden               wrong Host, wrong Origin, missing scope
├── MemoryFull              no room in memory beside what stays there
│   └── ModelTooLarge           nor if nothing else were there
├── RunError                an act run cannot go on
│   ├── BudgetExceeded          rounds, calls, tokens or time are used up
│   ├── RunNotFound             no run of that name is kept
│   └── RunConflict             not possible in the state that it is in
├── McpError                what happens around an MCP server
│   ├── McpUnreachable          it could not be started, or is gone
│   ├── McpNotFound             the profile declares none of that name
│   ├── McpNotApproved          nobody has agreed to start it as it is now
│   ├── McpChanged              it is not any more what somebody agreed to just now
│   ├── ElicitationNotFound     no such question of a server is open
│   ├── McpLoginFailed          no credential for it was got
│   ├── McpUnusable             a prompt or resource of it that no chat can take as it is named
│   └── McpProtocol             it does not keep to the protocol
├── ToolInvalid             a tool that cannot work as the profile declares it
├── ToolsMissing            some that the profile declares cannot be had
├── PathRefused             a path that leads out of where it must stay
├── OutboundRefused         an address that must not be reached
├── OutboundFailed          a request to elsewhere had no good answer
├── AddressRefused          the listener may not or cannot bind
├── StoreError              LMRUN_HOME cannot be read or written
│   └── DiskFull                it has no room for what was to be written
└── ServerUnreachable       no server answers on the control socket
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import ClassVar, Literal


class LmrunError(Exception):
    """An expected failure. `code` names it for machines, `hint` says what would be right."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return ("\n" if "\n" in self.message else " ").join(filter(None, (self.message, self.hint)))


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in a profile. `line` and `column` count from 1; 0 means the whole file."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class ProfileInvalid(LmrunError):
    code = "profile_invalid"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class ProfileSuperseded(LmrunError):
    code = "profile_superseded"


class GenerationUnknown(LmrunError):
    code = "generation_unknown"


class LockMismatch(LmrunError):
    code = "lock_mismatch"


class GitFailed(LmrunError):
    code = "git_failed"


class SourceError(LmrunError):
    code = "source_error"


class SourceInvalid(SourceError):
    code = "source_invalid"


class SourceMissing(SourceError):
    code = "source_missing"


class FetchFailed(SourceError):
    code = "fetch_failed"


class ModelInvalid(LmrunError):
    code = "model_invalid"


class EngineError(LmrunError):
    code = "engine_error"


class EngineMissing(EngineError):
    code = "engine_missing"


class LoadFailed(EngineError):
    code = "load_failed"


class SettingRefused(EngineError):
    """`param` is the setting's path in the profile, for example `load.flash_attention`."""

    code = "setting_refused"

    def __init__(self, message: str, *, param: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.param = param


class EngineCrashed(EngineError):
    """`returncode` as `subprocess` gives it: negative is the signal that ended the worker."""

    code = "engine_crashed"

    def __init__(
        self, message: str, *, returncode: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.returncode = returncode

    @property
    def cause(self) -> str:
        """`signal_9` or `exit_1`, for the wire."""
        if self.returncode is None:
            return "connection_lost"
        if self.returncode < 0:
            return f"signal_{-self.returncode}"
        return f"exit_{self.returncode}"

    @staticmethod
    def describe(returncode: int | None) -> str:
        """`SIGKILL`, `exit code 3`: the same for people."""
        if returncode is None:
            return "connection lost"
        if returncode >= 0:
            return f"exit code {returncode}"
        try:
            return signal.Signals(-returncode).name
        except ValueError:
            return f"signal {-returncode}"


class CrashLoop(EngineCrashed):
    code = "crash_loop"


class EngineHung(EngineError):
    code = "engine_hung"


class TemplateFailed(EngineError):
    code = "template_failed"


class RolledBack(EngineError):
    """`is_disruptive`: requests had to wait for the attempt, as they will for the next one."""

    code = "rolled_back"

    def __init__(
        self, message: str, *, is_disruptive: bool = False, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.is_disruptive = is_disruptive


class RequestError(LmrunError):
    """`param` names the field of the request that is wrong, where there is one."""

    code = "invalid_request"

    def __init__(self, message: str, *, param: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.param = param


class InvalidParameter(RequestError):
    code = "invalid_parameter"


class UnsupportedParameter(RequestError):
    code = "unsupported_parameter"


class ContextOverflow(RequestError):
    code = "context_length_exceeded"


class ModelNotFound(RequestError):
    code = "model_not_found"


class ModelNotReady(RequestError):
    """`retry_after_s`: when asking again may help; None when only a new profile will."""

    code = "model_not_ready"

    def __init__(
        self, message: str, *, retry_after_s: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, param="model", hint=hint)
        self.retry_after_s = retry_after_s


class QueueFull(RequestError):
    code = "queue_full"

    def __init__(self, message: str, *, retry_after_s: int = 1, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class BodyTooLarge(RequestError):
    code = "body_too_large"


class Unauthorized(RequestError):
    code = "invalid_api_key"


class Forbidden(RequestError):
    code = "forbidden"


class MemoryFull(LmrunError):
    code = "memory_full"
    param = "model"
    retry_after_s: int | None = 10


class ModelTooLarge(MemoryFull):
    code = "model_too_large"
    retry_after_s = None


class RunError(LmrunError):
    code = "run_error"


class BudgetExceeded(RunError):
    """`budget`: the field of the agent's budgets that is used up."""

    code = "agent_budget_exceeded"

    def __init__(self, message: str, *, budget: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.budget = budget


class RunNotFound(RunError):
    code = "run_not_found"


class RunConflict(RunError):
    code = "run_conflict"


class McpError(LmrunError):
    code = "mcp_error"


class McpUnreachable(McpError):
    code = "mcp_unreachable"


class McpNotFound(McpError):
    code = "mcp_server_not_found"


class McpNotApproved(McpError):
    code = "mcp_not_approved"


class ElicitationNotFound(McpError):
    code = "elicitation_not_found"


class McpChanged(McpError):
    code = "mcp_changed"


class McpLoginFailed(McpError):
    code = "mcp_login_failed"


class McpUnusable(McpError):
    code = "mcp_unusable"


class McpProtocol(McpError):
    code = "mcp_protocol_error"


class ToolInvalid(LmrunError):
    """`fault`: what is wrong at `place` in the tool's declaration, `("command", 2)`; (): in it."""

    code = "tool_invalid"

    def __init__(
        self, fault: str, *, place: tuple[str | int, ...] = (), hint: str | None = None
    ) -> None:
        where = "".join(f"[{it}]" if isinstance(it, int) else f".{it}" for it in place)
        super().__init__(f"`{where.removeprefix('.')}`: {fault}." if place else fault, hint=hint)
        self.fault = fault
        self.place = place


class ToolsMissing(LmrunError):
    code = "tools_missing"


class PathRefused(LmrunError):
    code = "path_refused"


class OutboundRefused(LmrunError):
    code = "outbound_refused"


class OutboundFailed(LmrunError):
    code = "outbound_failed"

    def __init__(
        self,
        message: str,
        *,
        reason: Literal["timeout", "too_large", "unreachable", "protocol"],
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class AddressRefused(LmrunError):
    code = "address_refused"


class StoreError(LmrunError):
    code = "store_error"


class DiskFull(StoreError):
    """Nothing was written, and what was there before is still there."""

    code = "disk_full"


class ServerUnreachable(LmrunError):
    code = "server_unreachable"
