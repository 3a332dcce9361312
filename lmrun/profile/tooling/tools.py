"""Tools that a profile declares: functions of Python, commands and requests over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from lmrun.profile.tooling.policy import Decision
from lmrun.settings.base import Settings
from lmrun.settings.check import JsonSchema
from lmrun.settings.quantities import Duration, Size
from lmrun.settings.secret import Confidential

MAX_TOOLS = 256
MAX_PARAMETERS = 64

FUNCTION_PATTERN = r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$"
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
PARAMETER_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
ALLOWED_HOST_PATTERN = r"^[A-Za-z0-9.\[\]:*-]+$"

Effect = Literal["write", "network"]
"""What a call may do beyond giving an answer."""

ParameterName = Annotated[str, StringConstraints(pattern=PARAMETER_PATTERN)]
VariableName = Annotated[str, StringConstraints(pattern=VARIABLE_PATTERN)]
FunctionName = Annotated[str, StringConstraints(pattern=FUNCTION_PATTERN, max_length=300)]
AllowedHost = Annotated[str, StringConstraints(pattern=ALLOWED_HOST_PATTERN, max_length=253)]
Positive = Annotated[Duration, Field(gt=0)]


class ToolLimits(Settings):
    """What one call may use; its whole process group is ended when it uses more."""

    cpu: Positive = Field(30.0, description="Processor time.", json_schema_extra={"default": "30s"})
    memory: Size = Field(2**30, description="Address space.", json_schema_extra={"default": "1GiB"})
    processes: Annotated[int, Field(ge=1, le=4096)] = Field(
        32, description="Processes and threads at a time, where the system can count them."
    )
    file_size: Size = Field(
        64 * 2**20, description="Largest file written.", json_schema_extra={"default": "64MiB"}
    )


class HttpRequest(Settings):
    """A request that a tool sends. `{name}` in `url`, `headers` and `body` is an argument."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(
        "GET", description="The method."
    )
    url: Annotated[str, Field(min_length=1, max_length=4096), Confidential()] = Field(
        description="`https://host/path/{argument}`; an argument is one piece of a path or one "
        "value of a query, never a host."
    )
    headers: Annotated[dict[str, str], Confidential()] = Field(
        default_factory=dict, description="Further headers."
    )
    body: Annotated[Any, Confidential()] = Field(
        None, description="JSON; a value `{argument}` alone is that argument as it is."
    )
    result: Annotated[str, Field(max_length=500)] | None = Field(
        None, description="Where in a JSON answer the result is: `data.items[0].name`."
    )
    hosts: Annotated[tuple[AllowedHost, ...], Field(max_length=64, strict=False)] = Field(
        (), description="Hosts it may reach, redirects included. Default: the one in `url`."
    )
    private: bool = Field(
        False,
        description="`hosts` may have addresses that are not public: this machine, this network.",
    )


class ToolConfig(Settings):
    """A tool: just one of `python`, `command` and `http`."""

    python: FunctionName | None = Field(
        None,
        description="`module:function`, found from this profile's directory. Name, description "
        "and parameters come from it.",
    )
    command: Annotated[
        Annotated[
            tuple[Annotated[str, Field(max_length=4096)], ...],
            Field(min_length=1, max_length=256, strict=False),
        ]
        | None,
        Confidential(),
    ] = Field(
        None,
        description="A program and its arguments, run without a shell. `{name}` is an argument of "
        "the call and stays within its element.",
    )
    http: HttpRequest | None = Field(None, description="A request over HTTP.")
    description: Annotated[str, Field(max_length=16_384)] | None = Field(
        None, description="What the model is told of it. Default of a function: its docstring."
    )
    parameters: Annotated[dict[ParameterName, JsonSchema], Field(max_length=MAX_PARAMETERS)] = (
        Field(default_factory=dict, description="The arguments by name, each with a JSON schema.")
    )
    optional: Annotated[tuple[ParameterName, ...], Field(strict=False)] = Field(
        (), description="Parameters that a call may leave out."
    )
    policy: Decision = Field("ask", description="Who decides whether a call is run.")
    effects: Annotated[tuple[Effect, ...], Field(strict=False)] | None = Field(
        None,
        description="What a call may do. Default: `[write, network]`; of a request over HTTP "
        "`[network]` for GET.",
    )
    untrusted: bool | None = Field(
        None,
        description="Its results are content from elsewhere, which may hold instructions. "
        "Default: yes for requests over HTTP.",
    )
    idempotent: bool = Field(
        False, description="Running a call twice is as good as once: it may be run again."
    )
    export: bool = Field(False, description="Offered by lmrun's own MCP server.")
    timeout: Positive = Field(
        30.0, description="Longest time for a call.", json_schema_extra={"default": "30s"}
    )
    max_output: Size = Field(
        64 * 2**10,
        description="Longest result; of a longer one, beginning and end are kept.",
        json_schema_extra={"default": "64KiB"},
    )
    env: Annotated[tuple[VariableName, ...], Field(max_length=64, strict=False)] = Field(
        (),
        description="Variables of the server's environment that it sees; PATH, HOME, LANG "
        "and TMPDIR always.",
    )
    cwd: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        None, description="Where it runs, relative to this profile. Default: its directory."
    )
    limits: ToolLimits = Field(ToolLimits(), description="What one call may use.")

    @model_validator(mode="after")
    def _is_one_kind(self) -> ToolConfig:
        kinds = [name for name in ("python", "command", "http") if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise ValueError("needs just one of `python`, `command` and `http`")
        unknown = [name for name in self.optional if name not in self.parameters]
        if unknown and self.python is None:
            raise ValueError(f"`optional` names {unknown[0]!r}, which `parameters` has not")
        return self
