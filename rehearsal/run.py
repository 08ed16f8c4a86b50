"""A whole rehearsal: Docker, images, the walk, the report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gourmetgram_tools.local import ports
from gourmetgram_tools.local.progress import StepProgress
from rehearsal import browser, checkout, engine, images, operations, shell
from rehearsal.errors import RehearsalError
from rehearsal.lab import PROJECT, Lab
from rehearsal.places import COMMAND_LOG, LOGS
from rehearsal.report import Findings, write
from rehearsal.steps import Result, Stage, walk
from rehearsal.walk import (
    checks,
    extended,
    instead,
    machine,
    own_traffic,
    stage2,
    stage3,
    stage4,
    stage5,
    stage6,
    target,
)

STAGES: Final = (
    checks.STATIC,
    machine.STAGE,
    stage2.STAGE,
    stage3.STAGE,
    stage4.STAGE,
    stage5.STAGE,
    stage6.STAGE,
    own_traffic.LAKEHOUSE,
    own_traffic.MODEL,
    extended.STAGE,
    checks.AUDIT,
    target.STAGE,
    browser.STAGE,
    operations.STAGE,
    operations.ROUNDS,
)
QUICK: Final = ("config", "machine", "2", "3", "4", "audit")
"""Stages of the quick rehearsal."""
OWN_TRAFFIC: Final = ("config", "2", "3", "4", own_traffic.LAKEHOUSE.key, own_traffic.MODEL.key, "audit")
"""Stages of the rehearsal without a past."""
_NOT_QUICK: Final = ("airflow-init", "jupyter")


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        stages: what to walk.
        quick: build only the images of stages 2 to 4.
        report: where to write the report.
        rounds: how often the stage `rounds` starts everything at once.
    """

    stages: Sequence[Stage]
    quick: bool
    report: Path
    rounds: int


def rehearse(plan: Plan, progress: StepProgress, tell: Callable[[Result], None]) -> bool:
    """Do it all; containers and volumes of the rehearsal are gone at the end.

    Args:
        plan: what is asked for.
        progress: told the preparations.
        tell: told each step's result.

    Returns:
        Whether every step passed.

    Raises:
        RehearsalError: the preparations failed.
    """
    COMMAND_LOG.unlink(missing_ok=True)
    with progress.step("Docker") as report:
        engine.ensure(report)
    with progress.step("copy of the checkout"):
        findings = Findings(checkout.refresh(), engine.versions())
    lab = Lab(plan.rounds)
    _refuse_a_running_lab(lab)
    with progress.step("official images, from packages") as report:
        findings.images += images.provide_official(lab, report)
    with progress.step("images of the lab") as report:
        findings.images += images.build_own(lab, lambda name: not plan.quick or name not in _heavy(lab), report)
    wipe(lab)
    if any(stage is not checks.STATIC for stage in plan.stages):
        _refuse_busy_ports(lab)
    try:
        results = walk(_with_checks_instead(plan.stages), lab, tell)
        findings.results = [result for result in results if result.stage != instead.STAGE.title]
        findings.checked_instead = [result for result in results if result.stage == instead.STAGE.title]
        findings.memory = _memory()
    finally:
        write(findings, plan.report)
        _keep_logs(lab)
        with progress.step("stopping the containers"):
            wipe(lab)
    return findings.passed


def _with_checks_instead(stages: Sequence[Stage]) -> list[Stage]:
    """The stages, and after those that fill the stores what is checked instead of pages that cannot be rehearsed."""
    last = [stage for stage in stages if stage in (operations.STAGE, operations.ROUNDS)]
    first = [stage for stage in stages if stage not in last]
    return [*first, *([instead.STAGE] if stage4.STAGE in first else ()), *last]


def wipe(lab: Lab) -> None:
    """Remove the rehearsal's containers and volumes, and nothing else."""
    answer = lab.compose("--profile '*' down -v --remove-orphans --timeout 20", timeout=180)
    if answer.code != 0:
        raise RehearsalError(f"The rehearsal's containers cannot be removed:\n{answer.tail}")


def _heavy(lab: Lab) -> set[str]:
    """Services whose images take minutes to build and that the quick rehearsal does without."""
    heavy = {lab.services[name]["image"] for name in _NOT_QUICK}
    return {name for name, service in lab.services.items() if service.get("image") in heavy}


def _refuse_a_running_lab(lab: Lab) -> None:
    """The container names are the lab's own: a lab that runs here for real would be in the way, and must not suffer."""
    for service in lab.services.values():
        name = service["container_name"]
        form = '{{index .Config.Labels "com.docker.compose.project"}}'
        answer = shell.run(["docker", "inspect", "--format", form, name])
        if answer.code == 0 and answer.output.strip() != PROJECT:
            raise RehearsalError(
                f"A container {name} of another project is here: the rehearsal uses the same names and ports. Stop "
                "that lab first (docker compose down; its data stays), or rehearse on another machine."
            )


def _refuse_busy_ports(lab: Lab) -> None:
    """The lab's ports are fixed: say which are taken before anything starts."""
    published = {int(port["published"]) for service in lab.services.values() for port in service.get("ports", ())}
    busy = sorted(port for port in published if not ports.is_free(port, "127.0.0.1"))
    if busy:
        raise RehearsalError(
            f"Other programs listen on the lab's ports {', '.join(map(str, busy))}. If it is the local stack: "
            "`gourmetgram down` (its data stays)."
        )


def _keep_logs(lab: Lab) -> None:
    """Keep what every container wrote: the containers are about to be removed."""
    LOGS.mkdir(parents=True, exist_ok=True)
    for service in lab.services:
        if lab.state(service) != "absent":
            (LOGS / f"{lab.container(service)}.log").write_text(lab.logs(service), encoding="utf-8")


def _memory() -> list[tuple[str, str]]:
    mine = shell.check(["docker", "ps", "-q", "--filter", f"label=com.docker.compose.project={PROJECT}"]).split()
    if not mine:
        return []
    listing = shell.check(["docker", "stats", "--no-stream", "--format", "{{.Name}}|{{.MemUsage}}", *mine])
    rows = [line.split("|") for line in listing.splitlines()]
    return sorted((name, memory) for name, memory in rows)
