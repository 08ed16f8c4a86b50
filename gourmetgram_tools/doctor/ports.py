"""Check of the lab's ports for other holders."""

from collections.abc import Iterable, Mapping

from gourmetgram_tools.compose.ports import PublishedPort
from gourmetgram_tools.compose.settings import ComposeSettings
from gourmetgram_tools.doctor.findings import Finding, ok, problem
from gourmetgram_tools.local.ports import holder, is_free


def check_ports(
    published: Iterable[PublishedPort], lab: ComposeSettings, containers: Mapping[int, str]
) -> list[Finding]:
    """Report each port that another program than the lab holds; one finding when all are free.

    Args:
        published: ports to check.
        lab: addresses on which they are published.
        containers: running container that publishes each port.
    """
    free, own, taken = 0, 0, []
    for port in published:
        container = containers.get(port.number)
        if container in port.containers:
            own += 1
        elif container is None and is_free(port.number, lab.ui_bind if port.is_page else lab.data_bind):
            free += 1
        else:
            taken.append(_taken(port, container))
    if taken:
        return taken
    return [ok("Ports", f"{own} of the lab's ports are used by its own containers, {free} are free.")]


def _taken(port: PublishedPort, container: str | None) -> Finding:
    name = " or ".join(port.containers)
    if container is not None:
        return problem(
            f"Port {port.number}",
            f"The container {container} holds port {port.number}, which {name} needs.",
            f"Stop it with `docker stop {container}`.",
        )
    who = holder(port.number)
    advice = (
        f"Stop it (`kill {who.pid}`, or the service it belongs to)."
        if who.pid
        else f"`sudo ss -ltnp 'sport = :{port.number}'` names it: stop it."
    )
    return problem(
        f"Port {port.number}",
        f"{str(who).capitalize() if who.pid is None else who} holds port {port.number}, which {name} needs.",
        f"{advice} A local stack of this command ends with `gourmetgram down`.",
    )
