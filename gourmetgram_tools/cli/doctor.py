"""`gourmetgram doctor`: problems that keep the Compose lab from working here, with advice."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from gourmetgram.settings import PROJECT_ROOT, process_environment

if TYPE_CHECKING:
    from gourmetgram_tools.doctor.findings import Finding

_STYLES = {"ok": ("green", "✓"), "warning": ("yellow", "!"), "problem": ("red", "✗")}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    servers: Annotated[
        bool, typer.Option("--servers", help="Connect to the servers that the environment's settings name instead.")
    ] = False,
) -> None:
    """Find problems that keep the lab on Docker Compose from working on this machine; exit 1 when there is one."""
    from gourmetgram_tools.cli.output import print_json
    from gourmetgram_tools.doctor.examination import examine
    from gourmetgram_tools.doctor.findings import Level
    from gourmetgram_tools.doctor.servers import check_servers

    findings = check_servers(process_environment()) if servers else examine(PROJECT_ROOT)
    problems = sum(finding.level is Level.PROBLEM for finding in findings)
    if as_json:
        rows = [{"check": f.check, "level": f.level, "seen": f.seen, "advice": f.advice} for f in findings]
        print_json({"findings": rows, "problems": problems})
    else:
        _print(findings, problems)
    if problems:
        raise typer.Exit(1)


def _print(findings: "list[Finding]", problems: int) -> None:
    from gourmetgram_tools.cli.console import console

    for finding in findings:
        style, mark = _STYLES[finding.level]
        line = (
            Text(f"{mark} ", style=style)
            .append(f"{finding.check}: ", style="bold")
            .append(finding.seen, style="default")
        )
        console.print(line, soft_wrap=True)
        if finding.advice:
            console.print(Text(f"    {finding.advice}", style="dim"), soft_wrap=True)
    if problems:
        console.print(f"\n{problems} to put right before `docker compose up`.", style="red", highlight=False)
    else:
        console.print("\nNothing keeps the lab from working.", style="green", highlight=False)
