"""Entry point of the `gourmetgram` command."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from gourmetgram.errors import PlatformError
from gourmetgram_tools.cli import dags, stack
from gourmetgram_tools.cli.adopt import adopt
from gourmetgram_tools.cli.audit import audit
from gourmetgram_tools.cli.backup import backup, restore
from gourmetgram_tools.cli.burst import burst
from gourmetgram_tools.cli.compare import compare
from gourmetgram_tools.cli.console import errors
from gourmetgram_tools.cli.demo import demo
from gourmetgram_tools.cli.doctor import doctor
from gourmetgram_tools.cli.drift import drift
from gourmetgram_tools.cli.erase import erase
from gourmetgram_tools.cli.generate_passwords import generate_passwords
from gourmetgram_tools.cli.kubernetes import kubernetes
from gourmetgram_tools.cli.lake import lake
from gourmetgram_tools.cli.migrate import migrate
from gourmetgram_tools.cli.models import models, train
from gourmetgram_tools.cli.outbox import outbox
from gourmetgram_tools.cli.skew import skew
from gourmetgram_tools.cli.trace import trace

app = typer.Typer(
    help="The GourmetGram data platform on this machine.",
    no_args_is_help=True,
    # Tracebacks are Python's own, without the values of local variables, among which are passwords.
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gourmetgram {version('gourmetgram')}")
        raise typer.Exit


@app.callback()
def select_stack(
    context: typer.Context,
    stack_name: Annotated[
        str,
        typer.Option(
            "--stack",
            envvar="GOURMETGRAM_STACK",
            help="Stack to act on; every stack except `default` has ports of its own.",
        ),
    ] = "default",
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and end."),
    ] = False,
) -> None:
    """Keep the stack's name for the subcommand: see `console.selected_stack`."""
    context.obj = stack_name


# One line per subcommand; its function, with its help text, is in a module of its own group.
app.command()(stack.up)
app.command()(stack.down)
app.command()(stack.status)
app.command()(stack.logs)
app.command()(stack.links)
app.command()(stack.start)
app.command()(stack.stop)
app.command()(stack.restart)
app.command()(stack.kill)
app.command()(stack.env)
app.command()(trace)
app.command()(burst)
app.command()(audit)
app.command()(demo)
app.command()(doctor)
app.command()(generate_passwords)
app.command()(migrate)
app.command()(adopt)
app.command()(backup)
app.command()(restore)
app.add_typer(dags.app, name="dags")
app.command()(train)
app.add_typer(models, name="models")
app.add_typer(outbox, name="outbox")
app.add_typer(lake, name="lake")
app.add_typer(erase, name="erase")
app.add_typer(kubernetes, name="kubernetes")
app.command()(compare)
app.command()(skew)
app.command()(drift)


def main() -> None:
    """Run the command; an error of the platform becomes one sentence and exit code 1."""
    try:
        app()
    except PlatformError as error:
        errors.print(f"Error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
