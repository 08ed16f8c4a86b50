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
"""Number of lookups of an unknown image before its request becomes a dead letter."""

REDIS_RETRY_S = 0.5
"""Pause before requests without counts from Redis are tried again, seconds; other requests go on."""


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
class BatchOutcome:
    """Outcome of a batch; requests in neither list stay pending.

    Attributes:
        settled: records that are done.
        dead: records that become dead letters, each with the reason.
    """

    settled: list[Record] = field(default_factory=list)
    dead: list[RejectedRecord] = field(default_factory=list)


Scorable: TypeAlias = tuple[Waiting, FeatureVector]
"""A request, and the features of its image."""


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
        """Parse one record. Only this method decides which records are malformed."""
        request = parse_request(record)
        if isinstance(request, BadMessage):
            return request
        log.info("Received moderation request for image %s (trigger: %s)", request.image_id, request.trigger)
        return Waiting(record, request)

    def handle(self, batch: Sequence[Waiting], model: RiskModel | None) -> BatchOutcome:
        """Decide a batch and store its rows.

        Returns:
            The outcome. Requests whose facts could not be read stay pending.

        Raises:
            TransientError: PostgreSQL is away; the whole batch stays pending.
        """
        try:
            return self._handle(batch, model)
        except PermanentError as error:
            if len(batch) == 1:
                return BatchOutcome(
                    dead=[RejectedRecord(batch[0].record, BadMessage(str(error), "refused by PostgreSQL"))]
                )
        # One bad value must not fail the other requests of its batch.
        log.warning("A batch of %d requests holds one that cannot be stored; each is tried alone", len(batch))
        together = BatchOutcome()
        for item in batch:
            alone = self.handle([item], model)
            together.settled += alone.settled
            together.dead += alone.dead
        return together

    def _handle(self, batch: Sequence[Waiting], model: RiskModel | None) -> BatchOutcome:
        outcome = BatchOutcome()
        known = self._sort_out(batch, self._facts.facts([item.request for item in batch]), outcome)
        lacking = {n: item for n, (item, _) in enumerate(known)}
        requests, facts = [item.request for item, _ in known], [fact for _, fact in known]
        # The first part needs no Redis: while Redis is away, only the other requests wait.
        for vectors in online_vectors(requests, facts, self._read_counts):
            self._store([(lacking.pop(n), vector) for n, vector in vectors], model, outcome)
        for item in lacking.values():
            item.due = time.monotonic() + REDIS_RETRY_S
        return outcome

    def _sort_out(
        self, batch: Sequence[Waiting], facts: Sequence[ImageFacts | None], outcome: BatchOutcome
    ) -> list[tuple[Waiting, ImageFacts]]:
        """Return the requests whose image exists; settle those for deleted images, give up overdue unknown ones."""
        present = []
        for item, fact in zip(batch, facts, strict=True):
            if fact is None:
                self._unknown(item, outcome)
            elif fact.deleted_us is not None and fact.deleted_us <= item.request.time_us:
                log.info("Image %s was deleted before the request's time; no decision", item.request.image_id)
                metrics.DELETED_IMAGES.inc()
                outcome.settled.append(item.record)
            else:
                present.append((item, fact))
        return present

    def _unknown(self, item: Waiting, outcome: BatchOutcome) -> None:
        now = time.monotonic()
        if item.unknown_since is None:
            item.unknown_since = now
            log.info("Image %s is not known yet; its request waits", item.request.image_id)
        if now - item.unknown_since >= self._unknown_image_wait_s:
            error = f"unknown image_id {item.request.image_id}, not found within {self._unknown_image_wait_s:g} s"
            outcome.dead.append(RejectedRecord(item.record, BadMessage(error, "unknown image_id")))
        else:
            item.due = now + self._unknown_image_wait_s / RETRIES_WHILE_UNKNOWN

    def _read_counts(self, requests: Sequence[ModerationRequest]) -> Sequence[ImageCounts] | None:
        """Read window counts from Redis; None while it is away."""
        try:
            counts = self._windows.counts(requests)
        except ServerError as error:
            metrics.FAILURES.labels(error.server).inc()
            log.log(
                logging.WARNING if self._redis_answers else logging.DEBUG, "Requests without counts wait: %s", error
            )
            self._redis_answers = False
            return None
        if not self._redis_answers:
            log.info("Redis answers again")
            self._redis_answers = True
        return counts

    def _store(self, scorable: Sequence[Scorable], model: RiskModel | None, outcome: BatchOutcome) -> None:
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
                metrics.DUPLICATES.inc()
                continue
            # Two requests with one id in a batch have one row.
            new.discard(decision.request.request_id)
            log.info("%s", decision.describe())
            log.info("Stored moderation decision for %s...", decision.request.image_id[:8])
            kinds[decision.inference_mode, decision.recommendation] += 1
            metrics.LATENCY.observe(max(0, stored_us - item.record.broker_time_us) / SECOND_US)
        for labels, number in kinds.items():
            metrics.DECISIONS.labels(*labels).inc(number)
