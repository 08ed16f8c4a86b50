"""Decisions: one for each request, and made from it."""

from collections.abc import Iterator

from gourmetgram.events import ModerationRequest
from gourmetgram_tools.inspection.checks.facts import Check, Facts, check
from gourmetgram_tools.inspection.rows import DecisionRow


def unanswered_on_purpose(facts: Facts) -> set[str]:
    """Ids of requests that need no row: dead-lettered, or the image was deleted at or before their time."""
    places = {(letter.partition, letter.offset) for letter in facts.dead_letters if _is_request(facts, letter.topic)}
    exempt = set()
    for request_id, request in facts.requests.by_id.items():
        image = facts.rows.images.get(request.image_id)
        deleted = image is not None and image.deleted_at_us is not None and image.deleted_at_us <= request.time_us
        if deleted or not places.isdisjoint(facts.requests.places[request_id]):
            exempt.add(request_id)
    return exempt


def _is_request(facts: Facts, topic: str) -> bool:
    return topic == facts.moderation_topic


def decisions(facts: Facts) -> Check:
    """Each request has one row; a unique index keeps a second away."""
    asked = facts.requests.by_id
    answered = facts.rows.decisions
    exempt = unanswered_on_purpose(facts)
    required = asked.keys() - exempt

    def differences() -> Iterator[str]:
        for request_id in sorted(required - answered.keys()):
            request = asked[request_id]
            yield f"request {request_id} ({request.trigger} of image {request.image_id}) has no decision"
        for request_id in sorted(answered.keys() - asked.keys()):
            row = answered[request_id]
            # Kafka's retention removes requests, the row stays.
            if facts.is_complete(row.target_id):
                yield f"decision on image {row.target_id} answers request {request_id}, which is not in Kafka"

    return check(
        "decisions",
        "one decision per request (or a reason)",
        len(required),
        len(answered.keys() - exempt),
        differences(),
    )


def decided_as_asked(facts: Facts) -> Check:
    """The decision is about the request's image and trigger, from the request's counts."""
    both = facts.requests.by_id.keys() & facts.rows.decisions.keys()
    differences = []
    for request_id in sorted(both):
        wrong = _disagreements(facts.requests.by_id[request_id], facts.rows.decisions[request_id])
        if wrong:
            differences.append(f"decision on request {request_id}: {', '.join(wrong)}")
    return check(
        "decided as asked",
        "decided on the request's trigger and counts",
        len(both),
        len(both) - len(differences),
        differences,
    )


def _disagreements(request: ModerationRequest, row: DecisionRow) -> list[str]:
    wrong = []
    if row.target_id != request.image_id:
        wrong.append(f"image {row.target_id} instead of {request.image_id}")
    if row.trigger != request.trigger:
        wrong.append(f"trigger {row.trigger} instead of {request.trigger}")
    counts = request.counts()
    if counts is not None:
        wrong.extend(
            f"{name}={value} instead of {counts[name]}" for name, value in row.counts.items() if value != counts[name]
        )
    return wrong


def bad_requests(facts: Facts) -> Check:
    """Requests that cannot be read."""
    bad = {record[:3] for record in facts.requests.bad}
    letters = {letter[:3] for letter in facts.dead_letters if _is_request(facts, letter.topic)}
    return check(
        "bad requests",
        "each unreadable request has a dead letter",
        len(bad),
        len(bad & letters),
        (f"{topic}/{partition}@{offset} has no dead letter" for topic, partition, offset in sorted(bad - letters)),
    )


DECISION_CHECKS = (decisions, decided_as_asked, bad_requests)
