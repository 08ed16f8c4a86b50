"""A viral burst of the data generator, and the wait for the decisions that must follow."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.errors import PermanentError, PlatformError, TransientError
from gourmetgram.events import parse_uuid
from gourmetgram.moments import now_us
from gourmetgram.redis_keys import IMAGE_ALERT, score_us
from gourmetgram.settings import PROJECT_ROOT
from gourmetgram.waiting import wait_for
from gourmetgram.windows import COOL_DOWN_US, COUNTED_WINDOWS, CountedKind, TriggerSettings
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.inspection.redis_state import connected

DECISION_DEADLINE_S: Final = 30.0
_BURST_TIMEOUT_S: Final = 300.0
_IMAGE_LINE: Final = re.compile(r"Simulating viral burst for image: ([0-9a-f-]{36})")
_POLL_S: Final = 0.02


class NoDecisionError(PlatformError):
    """A required decision did not follow in time."""


@dataclass(frozen=True)
class BurstPlan:
    """Numbers of views, comments and flags to send, in this order; `image_id` None = a fresh upload."""

    views: int = 110
    comments: int = 8
    flags: int = 2
    image_id: str | None = None


@dataclass(frozen=True)
class Decided:
    """A decision on the burst; `at` is the time of its row."""

    trigger: str
    risk_score: float
    recommendation: str | None
    request_id: str
    at: datetime


@dataclass(frozen=True)
class Burst:
    """The result of a burst.

    Attributes:
        sent_s: duration of the sending, in seconds.
        decisions: decisions in the order of their rows.
    """

    image_id: str
    sent_s: float
    decisions: list[Decided]


def expected_triggers(plan: BurstPlan, rules: TriggerSettings) -> list[str]:
    """Triggers that a burst must raise on an image outside of their cool-down.

    Raises:
        PermanentError: the burst raises no trigger, or the plan's image is no id.
    """
    if plan.image_id is not None and parse_uuid(plan.image_id) is None:
        raise PermanentError(f"'{plan.image_id}' is no image id: give the whole UUID.")
    sent: Mapping[CountedKind, int] = {"view": plan.views, "comment": plan.comments, "flag": plan.flags}
    triggers = [
        trigger.name
        for trigger in rules.window_triggers()
        if trigger.sends_request and sent[COUNTED_WINDOWS[trigger.count_name].kind] >= trigger.threshold
    ]
    if not triggers:
        raise PermanentError("This burst is below every threshold, so no decision would follow: send more.")
    return triggers


def cooling_down(platform: Platform, image_id: str, triggers: list[str]) -> list[str]:
    """Triggers whose cool-down on an image still lasts."""
    with connected(platform.redis) as servers:
        client = servers.of_image(image_id)
        last = {trigger: str(client.get(IMAGE_ALERT % (image_id, trigger)) or "") for trigger in triggers}
    return [trigger for trigger, t in last.items() if t and now_us() < score_us(t) + COOL_DOWN_US]


def burst(
    platform: Platform,
    environment: Mapping[str, str],
    plan: BurstPlan,
    *,
    deadline_s: float = DECISION_DEADLINE_S,
    report: Callable[[str], None] = lambda _line: None,
) -> Burst:
    """Send a burst and wait for the required decisions.

    Args:
        platform: addresses of the stores.
        environment: complete environment of the data generator.
        plan: numbers to send.
        deadline_s: longest wait for the decisions after the last call, seconds.
        report: receives each line of the generator's log.

    Raises:
        PermanentError: the plan raises no trigger, or the image is in the cool-down of one.
        TransientError: the generator failed.
        NoDecisionError: a decision did not follow in time.
    """
    triggers = expected_triggers(plan, platform.rules)
    if plan.image_id and (cooling := cooling_down(platform, plan.image_id, triggers)):
        raise PermanentError(
            f"Image {plan.image_id} has raised {' and '.join(cooling)} within the last hour and cannot raise it again "
            "before the hour is over: leave `--image` out for a fresh upload."
        )
    engine = create_worker_engine(platform.postgres, "gourmetgram-burst")
    try:
        known = _request_ids(engine, plan.image_id) if plan.image_id else set()
        started = time.monotonic()
        image_id = run_generator(_variables(environment, plan), report)
        sent_s = time.monotonic() - started
        decisions = _wait_for_decisions(engine, image_id, triggers, known, deadline_s)
    finally:
        engine.dispose()
    return Burst(image_id, sent_s, decisions)


def _variables(environment: Mapping[str, str], plan: BurstPlan) -> dict[str, str]:
    variables = {
        **environment,
        "GENERATOR_MODE": "simulate_viral",
        "GENERATOR_BURST_VIEWS": str(plan.views),
        "GENERATOR_BURST_COMMENTS": str(plan.comments),
        "GENERATOR_BURST_FLAGS": str(plan.flags),
        # Any free port, since the stack's own generator uses the default one.
        "HEALTH_PORT": "0",
    }
    variables.pop("GENERATOR_TARGET_IMAGE_ID", None)
    if plan.image_id:
        variables["GENERATOR_TARGET_IMAGE_ID"] = plan.image_id
    return variables


@contextmanager
def generator(variables: Mapping[str, str], *, quiet: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Run a data generator beside the stack's own during the block.

    Args:
        variables: complete environment of the generator.
        quiet: True = drop its log; False = the caller reads it from `stderr`.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "data_generator"],
        cwd=PROJECT_ROOT,
        env=dict(variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if quiet else subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stderr:
            process.stderr.close()


def run_generator(variables: Mapping[str, str], report: Callable[[str], None]) -> str:
    """Run the generator's burst to its end.

    Returns:
        the image's id, from the generator's log.

    Raises:
        TransientError: the generator failed, or logged no image.
    """
    image_id: str | None = None
    last: list[str] = []
    deadline = time.monotonic() + _BURST_TIMEOUT_S
    with generator(variables) as process:
        for line in process.stderr or ():
            last = [*last[-9:], line.rstrip()]
            report(line.rstrip())
            match = _IMAGE_LINE.search(line)
            image_id = match[1] if match else image_id
            if time.monotonic() > deadline:
                raise TransientError(f"The burst was not sent within {_BURST_TIMEOUT_S:g} s.")
        code = process.wait()
    if code or image_id is None or parse_uuid(image_id) is None:
        raise TransientError("The burst failed. The data generator's last lines:\n    " + "\n    ".join(last))
    return image_id


def _request_ids(engine: Engine, image_id: str) -> set[str]:
    return {decided.request_id for decided in _decisions(engine, image_id)}


def _decisions(engine: Engine, image_id: str) -> list[Decided]:
    statement = text(
        "SELECT trigger_type, risk_score, recommendation, inference_request_id::text, created_at FROM moderation "
        "WHERE target_type = 'image' AND target_id = :id AND inference_request_id IS NOT NULL ORDER BY created_at, id"
    )
    try:
        with engine.connect() as connection:
            return [Decided(*row) for row in connection.execute(statement, {"id": image_id})]
    except OperationalError as error:
        raise TransientError(f"PostgreSQL did not answer: {error.orig}") from error


def _wait_for_decisions(
    engine: Engine, image_id: str, triggers: list[str], known: set[str], deadline_s: float
) -> list[Decided]:
    def found() -> list[Decided]:
        return [decided for decided in _decisions(engine, image_id) if decided.request_id not in known]

    def missing(decisions: list[Decided]) -> list[str]:
        return [trigger for trigger in triggers if trigger not in {decided.trigger for decided in decisions}]

    def late(decisions: list[Decided]) -> NoDecisionError:
        return NoDecisionError(
            f"No decision for {' and '.join(missing(decisions))} of image {image_id} within {deadline_s:g} s: "
            f"`gourmetgram trace {image_id}` shows how far it came, `gourmetgram status` what runs."
        )

    return wait_for(found, deadline_s=deadline_s, every_s=_POLL_S, late=late, done=lambda answer: not missing(answer))
