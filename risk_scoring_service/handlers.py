"""Outcomes of requests: decided and stored, given up as a dead letter, dropped, or kept for later."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from gourmetgram.errors import PermanentError
from gourmetgram.events import BadMessage, ModerationRequest, Record, parse_request
from gourmetgram.features.definition import FeatureVector
from gourmetgram.features.online import ImageCounts, ImageFacts, online_vectors
from gourmetgram.kafka.dead_letters import RejectedRecord
from gourmetgram.moments import SECOND_US, now_us
from risk_scoring_service import metrics
from risk_scoring_service.decide import Decision, Judge, RiskModel
from risk_scoring_service.store import ServerError

log = logging.getLogger(__name__)

RETRIES_WHILE_UNKNOWN = 30
"""Number of repeated look-ups of an unknown image before its request is given up."""

REDIS_RETRY_S = 0.5
"""Pause before requests whose counts could not be read from Redis are tried again; others go on."""


class FactStore(Protocol):
    """PostgreSQL as the handler sees it; see `store.DecisionStore`."""

    def facts(self, requests: Sequence[ModerationRequest]) -> list[ImageFacts | None]:
        """Return facts about each request's image, None for an unknown image."""

    def insert(self, decisions: Sequence[Decision]) -> set[str]:
        """Store decisions; return the request ids of new rows."""


class CountStore(Protocol):
    """Redis as the handler sees it; see `store.RedisCounts`."""

    def counts(self, requests: Sequence[ModerationRequest]) -> list[ImageCounts]:
        """Return all counts of each request."""


@dataclass(slots=True)
class Waiting:
    """A request that is not settled yet.

    Attributes:
        due: monotonic time before which it is not tried again.
        unknown_since: monotonic time at which its image was first not found.
    """

    record: Record
    request: ModerationRequest
    due: float = 0.0
    unknown_since: float | None = None


@dataclass(slots=True)
class Outcome:
    """Outcome of a batch; requests named in neither list wait.

    Attributes:
        settled: nothing is left to do for these records.
        dead: records to give up, each with the reason.
    """

    settled: list[Record] = field(default_factory=list)
    dead: list[RejectedRecord] = field(default_factory=list)


Scorable: TypeAlias = tuple[Waiting, FeatureVector]
"""A request, and the features that it is decided by."""


class Handler:
    """Handles batches of requests.

    Args:
        facts: PostgreSQL.
        windows: Redis.
        judge: the rules or a model.
        unknown_image_wait_s: how long a request waits for the row of its image.
    """

    def __init__(self, facts: FactStore, windows: CountStore, judge: Judge, unknown_image_wait_s: float) -> None:
        self._facts = facts
        self._windows = windows
        self._judge = judge
        self._unknown_image_wait_s = unknown_image_wait_s
        self._redis_answers = True

    def read(self, record: Record) -> Waiting | BadMessage:
        """Read one record. This is where it is decided which records are malformed."""
        request = parse_request(record)
        if isinstance(request, BadMessage):
            return request
        log.info("Received moderation request for image %s (trigger: %s)", request.image_id, request.trigger)
        return Waiting(record, request)

    def handle(self, batch: Sequence[Waiting], model: RiskModel | None) -> Outcome:
        """Decide a batch and store its rows.

        Returns:
            What became of it. Requests whose facts could not be read stay for later.

        Raises:
            TransientError: PostgreSQL is away; the whole batch stays for later.
        """
        try:
            return self._handle(batch, model)
        except PermanentError as error:
            if len(batch) == 1:
                return Outcome(dead=[RejectedRecord(batch[0].record, BadMessage(str(error), "refused by PostgreSQL"))])
        # One bad value must not take its neighbours with it.
        log.warning("A batch of %d requests holds one that cannot be stored; each is tried alone", len(batch))
        together = Outcome()
        for item in batch:
            alone = self.handle([item], model)
            together.settled += alone.settled
            together.dead += alone.dead
        return together

    def _handle(self, batch: Sequence[Waiting], model: RiskModel | None) -> Outcome:
        outcome = Outcome()
        known = self._sort_out(batch, self._facts.facts([item.request for item in batch]), outcome)
        lacking = {n: item for n, (item, _) in enumerate(known)}
        requests, facts = [item.request for item, _ in known], [fact for _, fact in known]
        # The first part needs no Redis: while that is away, only the other requests wait.
        for vectors in online_vectors(requests, facts, self._read_counts):
            self._store([(lacking.pop(n), vector) for n, vector in vectors], model, outcome)
        for item in lacking.values():
            item.due = time.monotonic() + REDIS_RETRY_S
        return outcome

    def _sort_out(
        self, batch: Sequence[Waiting], facts: Sequence[ImageFacts | None], outcome: Outcome
    ) -> list[tuple[Waiting, ImageFacts]]:
        """Return the requests whose image is there; settle those for deleted images, give up overdue unknown ones."""
        present = []
        for item, fact in zip(batch, facts, strict=True):
            if fact is None:
                self._unknown(item, outcome)
            elif fact.deleted_us is not None and fact.deleted_us <= item.request.time_us:
                log.info("Image %s was deleted before it was to be judged; no decision", item.request.image_id)
                metrics.deleted_images.inc()
                outcome.settled.append(item.record)
            else:
                present.append((item, fact))
        return present

    def _unknown(self, item: Waiting, outcome: Outcome) -> None:
        now = time.monotonic()
        if item.unknown_since is None:
            item.unknown_since = now
            log.info("Image %s is not known yet; its request waits", item.request.image_id)
        if now - item.unknown_since >= self._unknown_image_wait_s:
            error = f"unknown image_id {item.request.image_id}, looked for during {self._unknown_image_wait_s:g} s"
            outcome.dead.append(RejectedRecord(item.record, BadMessage(error, "unknown image_id")))
        else:
            item.due = now + self._unknown_image_wait_s / RETRIES_WHILE_UNKNOWN

    def _read_counts(self, requests: Sequence[ModerationRequest]) -> Sequence[ImageCounts] | None:
        """Read window counts from Redis; None while it is away."""
        try:
            counts = self._windows.counts(requests)
        except ServerError as error:
            metrics.failures.labels(error.server).inc()
            log.log(
                logging.WARNING if self._redis_answers else logging.DEBUG, "Requests without counts wait: %s", error
            )
            self._redis_answers = False
            return None
        if not self._redis_answers:
            log.info("Redis answers again")
            self._redis_answers = True
        return counts

    def _store(self, scorable: Sequence[Scorable], model: RiskModel | None, outcome: Outcome) -> None:
        """Decide, store, and log each new row."""
        if not scorable:
            return
        decisions = self._judge.decide(
            [item.request for item, _ in scorable], [vector for _, vector in scorable], model
        )
        new = self._facts.insert(decisions)
        stored_us = now_us()
        kinds: Counter[tuple[str, str]] = Counter()
        for (item, _), decision in zip(scorable, decisions, strict=True):
            outcome.settled.append(item.record)
            if decision.request.request_id not in new:
                metrics.duplicates.inc()
                continue
            # The same request twice in one batch has one row.
            new.discard(decision.request.request_id)
            log.info("%s", decision.describe())
            log.info("Stored moderation decision for %s...", decision.request.image_id[:8])
            kinds[decision.inference_mode, decision.recommendation] += 1
            metrics.latency.observe(max(0, stored_us - item.record.broker_time_us) / SECOND_US)
        for labels, number in kinds.items():
            metrics.decisions.labels(*labels).inc(number)
