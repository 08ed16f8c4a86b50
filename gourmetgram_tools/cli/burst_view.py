"""Display of a burst: its decisions, the time that each took, and the image's trace."""

from collections.abc import Mapping
from datetime import datetime

from rich.console import Console
from rich.text import Text

from gourmetgram_tools.cli.console import errors
from gourmetgram_tools.cli.trace_view import print_trace
from gourmetgram_tools.inspection.burst import DECISION_DEADLINE_S, Burst, BurstPlan
from gourmetgram_tools.inspection.burst import burst as send_burst
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.inspection.timeline import milliseconds
from gourmetgram_tools.inspection.trace import trace
from gourmetgram_tools.local.services import inherited_environment


def show_burst(
    console: Console,
    platform: Platform,
    variables: dict[str, str],
    plan: BurstPlan,
    deadline_s: float = DECISION_DEADLINE_S,
) -> str:
    """Send a burst, and print its decisions with their delays, and its trace.

    Returns:
        the image's id.

    Raises:
        PlatformError: the burst failed, or no decision followed.
    """
    with errors.status("Burst") as status:
        result = send_burst(
            platform,
            {**inherited_environment(), **variables},
            plan,
            deadline_s=deadline_s,
            report=lambda line: status.update(f"Burst: {line.rpartition(' - ')[2][:80]}"),
        )
    found = trace(platform, result.image_id)
    console.print(
        f"Burst on image [bold]{result.image_id}[/bold]: {plan.views} views, {plan.comments} comments, "
        f"{plan.flags} flags, sent in {result.sent_s:.1f} s."
    )
    times = {request.request_id: request.time for request in found.records.requests}
    for line in _decision_lines(result, times):
        console.print(line)
    print_trace(console, found)
    return result.image_id


def _decision_lines(result: Burst, times: Mapping[str, datetime]) -> list[Text]:
    lines = []
    for decided in result.decisions:
        asked = times.get(decided.request_id)
        delay = f", {milliseconds(decided.at - asked)} after the event that raised it" if asked else ""
        verdict = f"{decided.risk_score:.2f} {decided.recommendation or ''}"
        lines.append(Text.assemble("  ", (decided.trigger, "bold"), f": {verdict}{delay}"))
    return lines
