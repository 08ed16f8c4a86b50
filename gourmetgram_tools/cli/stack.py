"""Subcommands that bring the local stack up and down, and act on its parts."""

import shlex
import sys
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from gourmetgram_tools.cli.console import ConsoleProgress, console, errors, selected_stack
from gourmetgram_tools.cli.running import lab_runs, note_unless_lab_runs, note_unless_up
from gourmetgram_tools.cli.target import StackOption, Target, compose_settings, local_stack
from gourmetgram_tools.compose.jupyter import running_token
from gourmetgram_tools.compose.pages import compose_pages, nimtable_form
from gourmetgram_tools.doctor.exposure import machine_addresses, reachable
from gourmetgram_tools.local import logs as log_files
from gourmetgram_tools.local.blueprint import DEFAULT_SERVICES, EXTRAS
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.links import Page, pages
from gourmetgram_tools.local.services import SERVICES
from gourmetgram_tools.local.stack import Stack


class Details(StrEnum):
    """Pages that need more values than an address and a login."""

    NIMTABLE = "nimtable"


Name = Annotated[str, typer.Argument(help="A server or service, as `status` lists them.", show_default=False)]


def up(
    context: typer.Context,
    no_traffic: Annotated[bool, typer.Option("--no-traffic", help="Leave the data generator out.")] = False,
    servers_only: Annotated[
        bool, typer.Option("--servers-only", help="Start PostgreSQL, Redis, Kafka and MinIO, no service.")
    ] = False,
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="airflow|jupyter|mlflow",
            help="Also start Airflow, for the batch half, or Jupyter, for the notebooks. May be repeated.",
        ),
    ] = None,
    port: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBER", help="Use another port from now on, e.g. postgres=15432."),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address on which the API and MinIO's console listen from now on.")
    ] = None,
) -> None:
    """Start the servers and services, and wait until all are healthy."""
    stack = Stack(context.obj)
    for assignment in port or []:
        name, number = _port(assignment)
        stack.use_port(name, number)
    if host:
        stack.use_host(host)
    services = _services(no_traffic, servers_only)
    stack.up(_with_extras(services, with_ or []), ConsoleProgress())
    console.print(f"The stack [bold]{stack.name}[/bold] is up. Its pages: `gourmetgram links`.", highlight=False)
    if addresses := reachable(stack.plan.ui_bind, machine_addresses()):
        errors.print(
            f"Other machines reach the API (no login), MinIO's console and Airflow (published passwords) at "
            f"{', '.join(addresses)}. Only this machine: `gourmetgram up --host 127.0.0.1`, and an SSH tunnel.",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )


def _services(no_traffic: bool, servers_only: bool) -> tuple[str, ...] | None:
    if servers_only:
        return ()
    if no_traffic:
        return tuple(name for name in DEFAULT_SERVICES if name != "data_generator")
    return None


def _with_extras(services: tuple[str, ...] | None, extras: list[str]) -> tuple[str, ...] | None:
    unknown = set(extras) - EXTRAS.keys()
    if unknown:
        raise StackError(f"--with takes {' or '.join(EXTRAS)}, not '{sorted(unknown)[0]}'.")
    added = (name for extra, names in EXTRAS.items() if extra in extras for name in names)
    return (*(DEFAULT_SERVICES if services is None else services), *added) if extras else services


def _port(assignment: str) -> tuple[str, int]:
    name, _, number = assignment.partition("=")
    if not number.isdecimal() or not 1024 <= int(number) <= 65535:
        raise StackError(f"--port wants NAME=NUMBER with a number from 1024 to 65535, not '{assignment}'.")
    return name, int(number)


def down(
    context: typer.Context,
    wipe: Annotated[bool, typer.Option("--wipe", help="Delete all data of this stack, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking; a script is never asked.")] = False,
) -> None:
    """Stop all servers and services. Data stays, unless `--wipe` is given."""
    stack = selected_stack(context)
    if wipe and not yes and sys.stdin.isatty():
        typer.confirm(f"Delete all data of the stack '{stack.name}' in {stack.folder}?", abort=True)
    if not stack.is_up():
        errors.print(f"The stack '{stack.name}' is not up.", style="yellow", highlight=False)
    stack.down(wipe, ConsoleProgress())


def status(context: typer.Context) -> None:
    """Show each server and service: state, health, process, port."""
    stack = selected_stack(context)
    table = Table(title=f"Stack {stack.name} in {stack.folder}", title_justify="left")
    for heading in ("name", "state", "healthy", "process", "port"):
        table.add_column(heading)
    for part in stack.status():
        health = "-" if part.pid is None else "[green]yes[/green]" if part.healthy else "[red]no[/red]"
        table.add_row(part.name, part.state, health, str(part.pid or "-"), str(part.port or "-"))
    console.print(table)
    note_unless_up(stack)


def logs(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="A server or service (default: all services).")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines, too, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="Number of existing lines to print, for each.")] = 30,
) -> None:
    """Print the logs of one part of the stack, or of all services."""
    stack = selected_stack(context)
    names = (name,) if name else SERVICES
    paths = {each: stack.log_file(each) for each in names}
    for each, path in paths.items():
        for line in log_files.last_lines(path, lines):
            _print_log_line(each, line, len(names) > 1)
    if follow:
        stack.require_up()
        try:
            for each, line in log_files.follow(paths):
                _print_log_line(each, line, len(names) > 1)
        except KeyboardInterrupt:
            return
    note_unless_up(stack)


def _print_log_line(name: str, line: str, with_name: bool) -> None:
    text = Text(f"{name:>20} | ", style="dim") if with_name else Text()
    # Without markup: a line may contain [brackets].
    console.print(text.append(line, style="default"), soft_wrap=True)


def links(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Name or address under which the browser reaches this machine.")] = (
        "localhost"
    ),
    stack: StackOption = None,
    target: Annotated[
        Target | None,
        typer.Option(help="`local`: a stack of this command. `compose`: the lab. Default: the one that runs."),
    ] = None,
    details: Annotated[
        Details | None, typer.Option(help='`nimtable`: print the values of its form "Connect catalog" instead.')
    ] = None,
) -> None:
    """List every page of the stack, with its login."""
    chosen = target or _running_target(context, stack)
    if details is Details.NIMTABLE:
        _print_nimtable_form(chosen)
        return
    for page in _pages(context, host, stack, chosen):
        login = f"   login: {page.login}" if page.login else ""
        # Soft-wrapped, so that an address stays in one piece and can be clicked.
        console.print(f"{page.title:<36} {page.url}{login}", markup=False, highlight=False, soft_wrap=True)
    if chosen is Target.LOCAL:
        note_unless_up(local_stack(context, stack, chosen))
    else:
        note_unless_lab_runs()


def _print_nimtable_form(target: Target) -> None:
    if target is Target.LOCAL:
        raise StackError(
            "Nimtable does not run on the local stack: it is a page of the lab on Docker Compose. Its values there: "
            "`gourmetgram links --details nimtable --target compose`."
        )
    for field, value in nimtable_form(compose_settings()):
        console.print(f"{field:<33} {value}", markup=False, highlight=False, soft_wrap=True)


def _running_target(context: typer.Context, stack: str | None) -> Target:
    """Select the lab when its containers run and the local stack does not."""
    if any(part.pid is not None for part in local_stack(context, stack, Target.LOCAL).status()):
        return Target.LOCAL
    return Target.COMPOSE if lab_runs() else Target.LOCAL


def _pages(context: typer.Context, host: str, stack: str | None, target: Target) -> list[Page]:
    if target is Target.LOCAL:
        chosen = local_stack(context, stack, target)
        return pages(chosen.ports, host, chosen.jupyter_token)
    lab = compose_settings()
    if lab.ui_bind in ("127.0.0.1", "localhost") and host != "localhost":
        errors.print("The pages listen on 127.0.0.1 only (UI_BIND): reach them through an SSH tunnel.", style="yellow")
    return compose_pages(lab, host, "" if lab.jupyter_token else running_token())


def start(context: typer.Context, name: Name) -> None:
    """Start one server or service, with its current settings, and wait until it is healthy."""
    selected_stack(context).start(name)
    console.print(f"{name} is healthy.", highlight=False)


def stop(context: typer.Context, name: Name) -> None:
    """Stop one server or service; it stays stopped until `start` or `up`."""
    selected_stack(context).stop(name)
    console.print(f"{name} is stopped.", highlight=False)


def restart(context: typer.Context, name: Name) -> None:
    """Stop one server or service and start it with its current settings."""
    selected_stack(context).restart(name)
    console.print(f"{name} is healthy.", highlight=False)


def kill(context: typer.Context, name: Name) -> None:
    """Send SIGKILL to one server or service; the supervisor starts it again."""
    selected_stack(context).kill(name)
    console.print(f"{name} was killed; `gourmetgram status` shows it come back.", highlight=False)


def env(
    context: typer.Context,
    service: Annotated[str | None, typer.Argument(help="A service (default: variables of all programs).")] = None,
) -> None:
    """Print the variables with which programs reach this stack, for `eval "$(gourmetgram env)"`."""
    if service is not None and service not in SERVICES:
        raise StackError(f"There is no service '{service}': the services are {', '.join(SERVICES)}.")
    stack = selected_stack(context)
    for key, value in sorted(stack.environment(service).items()):
        console.print(f"export {key}={shlex.quote(value)}", markup=False, highlight=False, soft_wrap=True)
    note_unless_up(stack)
