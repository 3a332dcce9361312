"""Commands in which models use tools: `act`, and what becomes of runs.

They know no command's work, which is imported when its command runs.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lmrun.cli.options import AsJson, Context, answer_in_json, locate_home, open_terminal

RunId = Annotated[str, typer.Argument(metavar="RUN", help="As `lmrun runs list` names it.")]
AsEvents = Annotated[
    bool, typer.Option("--json", callback=answer_in_json, help="Print events as JSON lines.")
]

PresetName = Annotated[
    str | None,
    typer.Option("--preset", help="Of the profile, or a prompt of an MCP server: mcp/docs/review."),
]

runs = typer.Typer(
    name="runs",
    help="What `act` has begun: listed, shown, approved, cancelled, resumed.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


def add_acting(app: typer.Typer) -> None:
    """Let `app` have these commands."""
    app.command()(act)
    app.add_typer(runs)


def act(
    task: Annotated[
        list[str] | None, typer.Argument(metavar="TASK", help="Piped input is appended.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Default: the only one that is ready.")
    ] = None,
    tools: Annotated[
        list[str] | None,
        typer.Option("--tool", "-t", metavar="TOOL", help="Like add, mcp/time/*; several times."),
    ] = None,
    agent: Annotated[
        str | None, typer.Option("--agent", help="An agent of the profile instead.")
    ] = None,
    preset: PresetName = None,
    context: Context = None,
    system: Annotated[str | None, typer.Option("--system", help="A system message.")] = None,
    max_rounds: Annotated[
        int | None, typer.Option("--max-rounds", min=1, max=1000, help="Most answers of the model.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=0, help="0 is greedy.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Most tokens of each round.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Same seed, same question, same answer.")
    ] = None,
    background: Annotated[
        bool, typer.Option("--background", help="Begin it, print its name, and leave.")
    ] = False,
    as_json: AsEvents = False,
) -> None:
    """Have a model do a task with the profile's tools; calls and results are shown.

    What the policy does not allow by itself is asked about here; without a terminal it is denied.
    """
    from lmrun.cli.commands import act as acting
    from lmrun.cli.commands import prompt as prompts

    text = prompts.read_prompt(task or (), sys.stdin)
    if not text:
        raise typer.BadParameter("say what to do, or pipe it in", param_hint="TASK")
    if agent is not None and (model is not None or tools or preset is not None):
        raise typer.BadParameter(
            "an agent has its own model and tools, and its own preset", param_hint="--agent"
        )
    question = prompts.Question(text, model, system, temperature, max_tokens, seed)
    wish = acting.Task(
        question, agent, tuple(tools or ()), max_rounds, preset, tuple(context or ())
    )
    around = acting.Surroundings(open_terminal(), locate_home(), as_json)
    (acting.begin if background else acting.act)(wish, around)


@runs.command("list")
def list_runs(as_json: AsJson = False) -> None:
    """List the runs that are kept, the newest first."""
    from lmrun.cli.commands import runs as showing

    showing.show_all(as_json=as_json, terminal=open_terminal(), home=locate_home())


@runs.command()
def show(run: RunId, as_json: AsJson = False) -> None:
    """Show a run: what was said, what was called, and how it ended."""
    from lmrun.cli.commands import runs as showing

    showing.show(run, as_json=as_json, terminal=open_terminal(), home=locate_home())


@runs.command()
def approve(
    run: RunId,
    once: Annotated[bool, typer.Option("--once", help="Run each call that it asks about.")] = False,
    session: Annotated[
        bool, typer.Option("--session", help="And the same calls until the run ends.")
    ] = False,
    always: Annotated[
        bool, typer.Option("--always", help="And the same calls from now on, in any run.")
    ] = False,
    deny: Annotated[bool, typer.Option("--deny", help="Run none of them.")] = False,
) -> None:
    """Answer what a run asks about its calls: one in the background, or begun over HTTP.

    Without an option each is asked about here.
    """
    from lmrun.cli.commands import runs as showing

    options: dict[showing.Said, bool] = {
        "once": once,
        "session": session,
        "always": always,
        "no": deny,
    }
    said = [reply for reply, is_wanted in options.items() if is_wanted]
    if len(said) > 1:
        raise typer.BadParameter("say one of --once, --session, --always, --deny", param_hint="RUN")
    reply = said[0] if said else None
    showing.approve(run, reply, terminal=open_terminal(), home=locate_home())


@runs.command()
def cancel(run: RunId, as_json: AsJson = False) -> None:
    """Stop a run, its model and its tools."""
    from lmrun.cli.commands import runs as showing

    showing.cancel(run, as_json=as_json, terminal=open_terminal(), home=locate_home())


@runs.command()
def resume(run: RunId, as_json: AsEvents = False) -> None:
    """Go on with a run that was interrupted or failed; no finished call is made again."""
    from lmrun.cli.commands import act as acting

    acting.resume(run, acting.Surroundings(open_terminal(), locate_home(), as_json))
