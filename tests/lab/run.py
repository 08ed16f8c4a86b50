"""A whole rehearsal: Docker, images, the walk, the report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gourmetgram_tools.local import ports
from gourmetgram_tools.local.progress import StepProgress
from tests.lab import checkout
from tests.lab.commands import check, run
from tests.lab.expectations import RehearsalError
from tests.lab.lab import PROJECT, Lab
from tests.lab.places import COMMAND_LOG, LOGS
from tests.lab.report import Rehearsed, write
from tests.lab.standins import docker, images
from tests.lab.steps import Result, Stage, walk
from tests.lab.walk import (
    browser,
    checks,
    extended,
    lifecycle,
    machine,
    operations,
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
    lifecycle.STAGE,
    extended.STAGE,
    checks.AUDIT,
    target.STAGE,
    browser.STAGE,
    browser.MLFLOW,
    operations.STAGE,
    operations.ROUNDS,
)
USUAL: Final = ("config", "machine", "2", "3", "4", "5", "6", "lifecycle", "extended", "audit", "target")
"""Stages of a rehearsal without options."""
QUICK: Final = ("config", "machine", "2", "3", "4", "audit")
"""Stages of the quick rehearsal."""
OWN_TRAFFIC: Final = ("config", "2", "3", "4", own_traffic.LAKEHOUSE.key, own_traffic.MODEL.key, "audit")
"""Stages of the rehearsal without a backfill."""
# Services whose images take minutes to build.
_NOT_QUICK: Final = ("airflow-init", "jupyter", "mlflow")


@dataclass(frozen=True)
class Request:
    """Options of a rehearsal.

    Attributes:
        stages: the path.
        quick: build only the images of stages 2 to 4.
        report: path of the report.
        rounds: number of starts of everything at once, in the stage `rounds`.
    """

    stages: Sequence[Stage]
    quick: bool
    report: Path
    rounds: int


def rehearse(request: Request, progress: StepProgress, report_step: Callable[[Result], None]) -> bool:
    """Prepare, walk, report, and remove the rehearsal's containers and volumes.

    Args:
        request: the options.
        progress: gets the preparations.
        report_step: called with each step's result.

    Returns:
        True when every step passed.

    Raises:
        RehearsalError: the preparations failed.
    """
    COMMAND_LOG.unlink(missing_ok=True)
    with progress.step("Docker") as report:
        engine = docker.ensure(report)
    with progress.step("copy of the checkout"):
        rehearsed = Rehearsed(checkout.refresh(), engine)
    lab = Lab(request.rounds)
    _refuse_a_running_lab(lab)
    with progress.step("official images, from packages") as report:
        rehearsed.images += images.provide_official(lab, report)
    heavy = {lab.services[name]["image"] for name in _NOT_QUICK} if request.quick else set()
    with progress.step("images of the lab") as report:
        rehearsed.images += images.build_own(lab, lambda name: lab.services[name].get("image") not in heavy, report)
    wipe(lab)
    if any(stage is not checks.STATIC for stage in request.stages):
        _refuse_busy_ports(lab)
    try:
        rehearsed.results = walk(request.stages, lab, report_step)
        rehearsed.memory = _memory()
    finally:
        write(rehearsed, request.report)
        _keep_logs(lab)
        with progress.step("stopping the containers"):
            wipe(lab)
    return rehearsed.passed


def wipe(lab: Lab) -> None:
    """Remove the rehearsal's containers and volumes, and nothing else."""
    ended = lab.compose("--profile '*' down -v --remove-orphans --timeout 20", timeout=180)
    if ended.code != 0:
        raise RehearsalError(f"The rehearsal's containers cannot be removed:\n{ended.tail}")


def _refuse_a_running_lab(lab: Lab) -> None:
    """Refuse to touch a real lab on this machine, whose containers have the same names."""
    label = '{{index .Config.Labels "com.docker.compose.project"}}'
    for service in lab.services:
        ended = run("docker", "inspect", "--format", label, lab.container(service))
        if ended.code == 0 and ended.stdout != PROJECT:
            raise RehearsalError(
                f"A container {lab.container(service)} of another project is here: the rehearsal uses the same names "
                "and ports. Stop that lab first (docker compose down; its data stays), or use another machine."
            )


def _refuse_busy_ports(lab: Lab) -> None:
    """Name the ports that are taken before anything starts: the lab's ports are fixed."""
    published = {int(port["published"]) for service in lab.services.values() for port in service.get("ports", ())}
    busy = sorted(port for port in published if not ports.is_free(port, "127.0.0.1"))
    if busy:
        raise RehearsalError(
            f"Other programs listen on the lab's ports {', '.join(map(str, busy))}. If it is the local stack: "
            "`gourmetgram down` (its data stays)."
        )


def _keep_logs(lab: Lab) -> None:
    """Keep every container's log before the containers are removed."""
    LOGS.mkdir(parents=True, exist_ok=True)
    for service in lab.services:
        if lab.state(service) != "absent":
            (LOGS / f"{lab.container(service)}.log").write_text(lab.logs(service), encoding="utf-8")


def _memory() -> list[tuple[str, ...]]:
    mine = check("docker", "ps", "-q", "--filter", f"label=com.docker.compose.project={PROJECT}").split()
    if not mine:
        return []
    listing = check("docker", "stats", "--no-stream", "--format", "{{.Name}}|{{.MemUsage}}", *mine)
    return sorted(tuple(line.split("|")) for line in listing.splitlines())
