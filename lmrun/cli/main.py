"""The command line: every command, argument and option. It knows no command's work.

The work is imported when its command runs: `lmrun --help` must not wait for anything.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lmrun import __version__
from lmrun.cli import failures
from lmrun.cli.acting import add_acting
from lmrun.cli.mcp import mcp
from lmrun.cli.options import (
    AsJson,
    Context,
    ProfilePath,
    answer_in_json,
    locate_home,
    open_terminal,
    reporting,
)
from lmrun.cli.policies import policy
from lmrun.cli.streams import prepare_streams
from lmrun.cli.upkeep import add_upkeep

_EPILOG = "Everything lmrun keeps lies in LMRUN_HOME (default: ~/.lmrun)."

app = typer.Typer(
    name="lmrun",
    help="Local language models from one YAML profile, behind OpenAI's API.",
    epilog=_EPILOG,
    # Plain text, as docker and kubectl have it: it costs nothing to import and can be piped.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> int:
    """Run the command line and return the exit code."""
    prepare_streams()
    return run(sys.argv[1:])


def run(arguments: Sequence[str]) -> int:
    """Run the command that `arguments` make and return the exit code."""
    reporting.reset()
    return failures.run(lambda: app(arguments, prog_name="lmrun"), os.environ, reporting)


def _show_version(wanted: bool) -> None:
    if wanted:
        open_terminal().show(f"lmrun {__version__}")
        raise typer.Exit


def _show_tracebacks(wanted: bool) -> None:
    reporting.with_traceback = wanted


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", callback=_show_tracebacks, envvar="LMRUN_DEBUG", help="Show tracebacks."
        ),
    ] = False,
) -> None:
    pass


@app.command()
def validate(profile: ProfilePath, as_json: AsJson = False) -> None:
    """Show every problem of a profile at once. Needs no server."""
    from lmrun.cli.commands import profiles

    raise typer.Exit(
        profiles.validate(
            profile, as_json=as_json, terminal=open_terminal(), environment=os.environ
        )
    )


@app.command()
def plan(
    profile: ProfilePath,
    as_json: AsJson = False,
    detailed_exitcode: Annotated[
        bool,
        typer.Option(
            "--detailed-exitcode", help="Exit 0 for no changes, 2 for changes, 1 for an error."
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Save it: `lmrun apply FILE` does just that."),
    ] = None,
) -> None:
    """Show what an apply would change and what it costs."""
    from lmrun.cli.commands import plans

    wish = plans.PlanWish(profile, as_json, detailed_exitcode, out)
    raise typer.Exit(
        plans.plan(wish, terminal=open_terminal(), home=locate_home(), environment=os.environ)
    )


@app.command()
def apply(
    profile: Annotated[
        Path, typer.Argument(metavar="PROFILE", help="A profile, or a plan that was saved.")
    ],
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Agree to unload models or replace a profile.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Let the server follow the profile's files.")
    ] = False,
    locked: Annotated[
        bool, typer.Option("--locked", help="Refuse whatever differs from PROFILE.lock.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", callback=answer_in_json, help="Print events as JSON lines."),
    ] = False,
) -> None:
    """Make a profile true; start a background server if none runs."""
    from lmrun.cli.commands import convergence

    wish = convergence.Wish(profile, is_agreed=yes, watch=watch, locked=locked, as_json=as_json)
    convergence.apply(wish, terminal=open_terminal(), home=locate_home(), environment=os.environ)


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Default: all checks.")
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", "-p", help="Default: the profile applied last."),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write a JUnit report.")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write golden answers that are missing or differ.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ask what the profile's checks ask, and judge the answers. Exits 1 unless all pass.

    Asks the running server where it has the profile applied, else a temporary one.
    """
    from lmrun.cli.commands import checks

    wish = checks.Wish(tuple(names or ()), profile, junit, update=update, as_json=as_json)
    try:
        code = checks.check(wish, checks.Surroundings(open_terminal(), locate_home(), os.environ))
    except checks.UnknownCheck as unknown:
        raise typer.BadParameter(str(unknown), param_hint="NAME") from unknown
    raise typer.Exit(code)


add_upkeep(app)
app.add_typer(mcp)
add_acting(app)
app.add_typer(policy)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show the server, its models and what is wrong with them."""
    from lmrun.cli.commands import statuses

    raise typer.Exit(statuses.status(as_json=as_json, terminal=open_terminal(), home=locate_home()))


@app.command()
def load(
    model: Annotated[str, typer.Argument(help="A declared model's key or identifier.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="A load setting over the profile's, like load.context_length=2048.",
        ),
    ] = None,
    identifier: Annotated[
        str | None,
        typer.Option("--as", metavar="IDENTIFIER", help="Another instance than the declared one."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Load a declared model by hand, or load it again with other settings.

    What becomes of that is up to the profile's `drift`; `lmrun status` shows it.
    """
    from lmrun.cli.commands import hands

    try:
        wish = hands.LoadWish(model, hands.parse_settings(settings or ()), identifier)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--set") from error
    hands.load(wish, as_json=as_json, terminal=open_terminal(), home=locate_home())


@app.command()
def unload(
    identifier: Annotated[str, typer.Argument(help="The instance, as `lmrun status` names it.")],
    as_json: AsJson = False,
) -> None:
    """Unload an instance by hand. Its streams end."""
    from lmrun.cli.commands import hands

    hands.unload(identifier, as_json=as_json, terminal=open_terminal(), home=locate_home())


@app.command()
def logs(
    prompts: Annotated[
        bool, typer.Option("--prompts", help="Only what models are given, and what they write.")
    ] = False,
    server: Annotated[bool, typer.Option("--server", help="Only the server's own log.")] = False,
    last: Annotated[
        int, typer.Option("-n", "--last", min=0, max=1000, help="Lines of the past to begin with.")
    ] = 10,
    as_json: Annotated[
        bool,
        typer.Option("--json", callback=answer_in_json, help="Print events as JSON lines."),
    ] = False,
) -> None:
    """Follow the server's log and the prompts of its models, until interrupted.

    Prompts are recorded from now on, while this command runs; the past has only the server's log.
    """
    from lmrun.cli.commands import logs as following

    sources = following.choose_sources(prompts=prompts, server=server)
    following.logs(sources, last, as_json=as_json, terminal=open_terminal(), home=locate_home())


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the model files of this machine. Needs no server."""
    from lmrun.cli.commands import models as listing

    listing.models(as_json=as_json, terminal=open_terminal(), home=locate_home())


@app.command()
def serve(
    profile: Annotated[
        Path | None,
        typer.Argument(metavar="PROFILE", help="Default: the profile applied last."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the profile's files.")] = False,
    git: Annotated[
        str | None,
        typer.Option("--git", metavar="URL", help="Follow a repository instead of a file."),
    ] = None,
    ref: Annotated[str, typer.Option(help="A branch, a tag or a commit of it.")] = "main",
    path: Annotated[str, typer.Option(help="The profile in it.")] = "profile.yaml",
    interval: Annotated[str, typer.Option(help="How often it is looked at.")] = "30s",
    require_signed: Annotated[
        bool, typer.Option("--require-signed", help="Only commits whose signature git trusts.")
    ] = False,
    background: Annotated[bool, typer.Option("--background", hidden=True)] = False,
) -> None:
    """Run the server in the foreground, for containers and systemd.

    With --git every new commit is applied; one that does not converge, or whose checks fail, is
    taken back.
    """
    from lmrun.cli.commands import serving

    repository = serving.Repository(git, ref, path, interval, require_signed)
    beginning = serving.read_beginning(profile, repository, watch=watch, background=background)
    from lmrun import process

    raise typer.Exit(process.serve(beginning, locate_home()))


@app.command()
def chat(
    prompt: Annotated[
        list[str] | None, typer.Argument(metavar="PROMPT", help="Piped input is appended.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Default: the only one that is ready.")
    ] = None,
    system: Annotated[str | None, typer.Option("--system", help="A system message.")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=0, help="0 is greedy.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Most tokens to generate.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Same seed, same question, same answer.")
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option("--api-key", envvar="LMRUN_API_KEY", help="Where the profile asks for one."),
    ] = None,
    tools: Annotated[
        list[str] | None,
        typer.Option("--tools", metavar="TOOL", help="The profile's tools that it may use."),
    ] = None,
    context: Context = None,
) -> None:
    """Ask a model one question; the answer is streamed.

    With --tools it may call tools of the profile; calls are shown, and asked about where the policy
    wants that. With --context it reads what the profile's MCP servers have.
    """
    from lmrun.cli.commands import prompt as prompts

    text = prompts.read_prompt(prompt or (), sys.stdin)
    if not text:
        raise typer.BadParameter("say something, or pipe it in", param_hint="PROMPT")
    question = prompts.Question(text, model, system, temperature, max_tokens, seed)
    if tools or context:
        from lmrun.cli.commands import act as acting

        task = acting.Task(question, tools=tuple(tools or ()), context=tuple(context or ()))
        acting.act(task, acting.Surroundings(open_terminal(), locate_home()))
        return
    prompts.chat(question, api_key=api_key, terminal=open_terminal(), home=locate_home())


@app.command()
def down() -> None:
    """Unload everything and stop the background server."""
    from lmrun.cli.commands import convergence

    convergence.down(terminal=open_terminal(), home=locate_home())
