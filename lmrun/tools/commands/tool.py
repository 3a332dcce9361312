"""A tool that is a command: an argv template, run as a process of its own. It knows no shell."""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmrun.errors import ToolInvalid
from lmrun.profile.tooling.templates.command import CommandTemplate
from lmrun.profile.tooling.templates.text import ArgumentRefused
from lmrun.profile.tooling.tools import ToolConfig
from lmrun.tools.declared import make_declared_spec
from lmrun.tools.output import BoundedOutput, clean_output
from lmrun.tools.processes.control import ProgramRefused
from lmrun.tools.processes.endings import explain
from lmrun.tools.processes.group import ProcessGroup
from lmrun.tools.processes.launcher import GRACE_S
from lmrun.tools.processes.program import Limits, Program, choose_environment, tell_unkept
from lmrun.tools.tool import ErrorKind, OnProgress, ToolResult, ToolSpec

log = logging.getLogger("lmrun.tools")


class CommandTool:
    """`key`: what the profile calls it; `directory`: what its paths are relative to;
    `environment`: the server's, of which it sees what the profile names. Raises ToolInvalid for a
    command line that no profile may have; that the rest fits it is the profile's business."""

    def __init__(
        self, key: str, config: ToolConfig, directory: Path, environment: Mapping[str, str]
    ) -> None:
        if config.command is None:
            raise ToolInvalid(f"The tool {key!r} is no command.")
        self._config = config
        self._template = CommandTemplate(config.command)
        self._directory = directory / config.cwd if config.cwd is not None else directory
        self._environment = choose_environment(environment, config.env)
        self._limits = Limits.of(config.limits)
        tell_unkept(key)
        self._spec = make_declared_spec(key, config)

    @property
    def spec(self) -> ToolSpec:
        return self._spec

    async def call(self, arguments: Mapping[str, Any], on_progress: OnProgress) -> ToolResult:
        """Run the command. Nothing is known of its progress. When this is cancelled, whatever it
        has started is gone before the cancellation goes on."""
        missing = [name for name in self._spec.parameters["required"] if name not in arguments]
        if missing:
            return ToolResult(f"`{missing[0]}` is missing.", error="invalid_arguments")
        try:
            argv = self._template.fill(arguments)
        except ArgumentRefused as error:
            return ToolResult(str(error), error="invalid_arguments")
        program = Program(argv, self._directory, self._environment, self._limits)
        stdout = BoundedOutput(self._config.max_output)
        stderr = BoundedOutput(self._config.max_output)
        try:
            group = await ProcessGroup.start(program, stdout.feed, stderr.feed)
        except ProgramRefused as refused:
            return _tell_refusal(program, refused)
        except OSError as error:
            return ToolResult(f"It could not be started: {error.strerror}.", error="failed")
        try:
            is_in_time = await group.ends_within(self._config.timeout)
            if not is_in_time:
                group.ask_to_end()
                await group.ends_within(GRACE_S + 1)
        finally:
            ending = await group.close()
        if not is_in_time:
            report = f"It did not end within {self._config.timeout:g} s, and was ended."
            return self._tell("timeout", report, stdout, stderr)
        if ending.is_good:
            said = stdout if stdout.size else stderr
            text = said.text or "Done."
            return ToolResult(text, None, self._spec.is_untrusted, stdout.size + stderr.size)
        return self._tell(*explain(ending, self._config.limits), stdout, stderr)

    def _tell(
        self, error: ErrorKind, report: str, stdout: BoundedOutput, stderr: BoundedOutput
    ) -> ToolResult:
        """What went wrong, and what the command said."""
        parts = [report, stdout.text, stderr.text]
        text, _ = clean_output("\n".join(part for part in parts if part), self._config.max_output)
        return ToolResult(text, error, self._spec.is_untrusted, stdout.size + stderr.size)


def _tell_refusal(program: Program, refused: ProgramRefused) -> ToolResult:
    match refused.step:
        case "directory":
            report = f"It cannot run in {program.directory}: {refused.reason}."
        case "limits":
            report = f"Its limits cannot be set: {refused.reason}."
        case "program" if refused.number == errno.E2BIG:
            report = "The arguments are longer together than a program can be given."
            return ToolResult(report, error="invalid_arguments")
        case "program":
            report = f"{program.argv[0]} cannot be started: {refused.reason}."
    log.warning("%s", report)
    return ToolResult(report, error="failed")
