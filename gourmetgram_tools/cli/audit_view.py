"""Display of an audit and its progress, at most 100 columns wide except for long ids."""

import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gourmetgram_tools.cli.console import errors
from gourmetgram_tools.inspection.audit import AuditResult
from gourmetgram_tools.inspection.audit import audit as run_audit
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.inspection.quiescence import DEFAULT_DEADLINE_S


def audited(platform: Platform, deadline_s: float = DEFAULT_DEADLINE_S, strict: bool = False) -> AuditResult:
    """Run the audit; standard error shows the reasons of a wait."""
    # Arrow's own allocator keeps freed memory: some 100 MB after millions of rows.
    pa.set_memory_pool(pa.system_memory_pool())
    with errors.status("Audit") as status:

        def report(text: str) -> None:
            status.update(f"Audit: {text}")

        return run_audit(platform, deadline_s=deadline_s, strict=strict, report=report)


def print_audit(console: Console, result: AuditResult, examples: int = 5) -> None:
    """Print the checks, the differences with examples, and the notes."""
    table = Table(title=f"Audit of {result.events:,} events", title_justify="left", box=SIMPLE_HEAD, expand=True)
    table.add_column("")
    table.add_column("check", no_wrap=True)
    table.add_column("what must hold", ratio=1)
    table.add_column("expected", justify="right")
    table.add_column("actual", justify="right")
    table.add_column("wrong", justify="right")
    for check in result.checks:
        mark, style = ("✓", "green") if check.ok else ("✗", "bold red")
        number = len(check.differences)
        table.add_row(Text(mark, style=style), check.name, Text(check.proves), f"{check.expected:,}",
                      f"{check.actual:,}", Text(str(number), style=style))  # fmt: skip
    console.print(table)
    for check in result.checks:
        _print_differences(console, check.name, check.differences, examples)
    for note in result.notes:
        shown = f", e.g. {note.examples[0]}" if note.examples else ""
        console.print(Text(f"Note: {note.count:,} {note.name}{shown}"), style="dim")
    for text in result.skipped:
        console.print(Text(f"Not compared: {text}."), style="dim")
    verdict = "The stores agree." if not result.differences else f"{result.differences} differences."
    console.print(
        Text.assemble(
            (verdict, "bold green" if not result.differences else "bold red"),
            f"  (waited {result.waited_s:.1f} s, read and compared in {result.read_s:.1f} s)",
        )
    )


def _print_differences(console: Console, name: str, differences: tuple[str, ...], examples: int) -> None:
    for difference in differences[:examples]:
        console.print(Text(f"{name}: {difference}", style="red"), soft_wrap=True)
    if len(differences) > examples > 0:
        console.print(Text(f"{name}: … and {len(differences) - examples} more (`--examples N`, `--json`)"), style="dim")
