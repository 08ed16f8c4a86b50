"""Requests, alerts and milestones: exactly those that the rules demand of the events."""

from collections.abc import Iterator, Mapping

from gourmetgram.events import ModerationRequest, request_uuid
from gourmetgram_tools.inspection.checks.facts import Check, Facts, check
from gourmetgram_tools.inspection.checks.redis_checks import SLACK_US, TOTAL_TTL_US
from gourmetgram_tools.inspection.history import ImageHistory
from gourmetgram_tools.inspection.triggers import (
    COOL_DOWN_US,
    WINDOWS,
    Raised,
    all_raised,
    count_as_of,
    milestones,
    of_upload,
    window_rules,
)


def expected_requests(facts: Facts) -> dict[str, Raised]:
    """The requests that must exist, by id; anchors only once their time has passed by a minute."""
    expected = {
        raised.request_id: raised for rule, raised in all_raised(facts.history, facts.rules) if rule.sends_request
    }
    triggers = [f"anchor_{minutes}" for minutes in facts.rules.rescore_at_minutes]
    if facts.rules.trigger_on_upload:
        triggers.append("upload")
    for image_id, upload in facts.history.uploads.items():
        for trigger in triggers:
            raised = of_upload(image_id, upload, trigger)
            if raised and raised.time_us <= facts.now_us - SLACK_US:
                expected[raised.request_id] = raised
    return {key: raised for key, raised in expected.items() if facts.is_complete(raised.image_id)}


def by_consumer(facts: Facts, request: ModerationRequest) -> bool:
    """Whether the stream consumer made a request: it says what it has read, or its id follows from an event."""
    if "read_to" in request.context:
        return True
    image = facts.history.images.get(request.image_id)
    if image is None:
        return False
    causes = [None, *(event.event_id for events in image.accepted.values() for event in events)]
    return any(request_uuid(request.image_id, request.trigger, cause) == request.request_id for cause in causes)


def requests(facts: Facts) -> Check:
    """Expected requests, worked out from the raw events in offset order, and those in the topic."""
    expected = expected_requests(facts)
    seen = {key: item for key, item in facts.requests.by_id.items() if _comparable(facts, item)}
    surplus = [item for key, item in seen.items() if key not in expected and not _of_earlier_setting(facts, item)]
    surplus = [item for item in surplus if by_consumer(facts, item)]

    def differences() -> Iterator[str]:
        for key, raised in expected.items():
            if key not in seen:
                yield f"request {key} ({raised.trigger} of image {raised.image_id}) is missing"
            elif seen[key].time_us != raised.time_us:
                yield f"request {key} ({raised.trigger} of image {raised.image_id}) is for another time"
        for item in surplus:
            yield f"request {item.request_id} ({item.trigger} of image {item.image_id}) follows from no event"

    return check(
        "requests",
        "requests are those the rules demand",
        len(expected),
        sum(key in seen for key in expected) + len(surplus),
        differences(),
    )


def _comparable(facts: Facts, request: ModerationRequest) -> bool:
    """Whether all events of the request's image are known, in a defined order."""
    image = facts.history.images.get(request.image_id)
    return facts.is_complete(request.image_id) and not (image and image.scattered)


def _of_earlier_setting(facts: Facts, request: ModerationRequest) -> bool:
    """Whether it is a right upload or anchor request, made while the setting for it was on or its time just came."""
    upload = facts.history.uploads.get(request.image_id)
    raised = of_upload(request.image_id, upload, request.trigger) if upload else None
    return raised is not None and (raised.request_id, raised.time_us) == (request.request_id, request.time_us)


def contexts(facts: Facts) -> Check:
    """A request carries the counts of the events below `read_to`, as of its time."""
    checked = right = 0
    differences = []
    for request in facts.requests.by_id.values():
        read_to = request.context.get("read_to")
        image = facts.history.images.get(request.image_id)
        if not isinstance(read_to, Mapping) or image is None or not _comparable(facts, request):
            continue
        checked += 1
        wrong = _wrong_counts(request, image, read_to)
        right += not wrong
        if wrong:
            differences.append(f"request {request.request_id} of image {request.image_id}: {', '.join(wrong)}")
    return check("contexts", "requests carry the counts of what they read", checked, right, differences)


def _wrong_counts(request: ModerationRequest, image: ImageHistory, read_to: Mapping[str, int]) -> list[str]:
    wrong = []
    for name in WINDOWS:
        count = count_as_of(image, name, request.time_us, read_to)
        if request.context.get(name) != count:
            wrong.append(f"{name}={request.context.get(name)} instead of {count}")
    return wrong


def copies(facts: Facts) -> Check:
    """A request may come again, but never changed."""
    differing = facts.requests.differing
    return check(
        "request copies",
        "a repeated request is the same",
        facts.requests.copies,
        facts.requests.copies - len(differing),
        (f"request {request_id} was sent again with another content" for request_id in differing),
    )


def alerts(facts: Facts) -> Check:
    """The state of the cool-downs."""
    last: dict[tuple[str, str], Raised] = {}
    for rule, raised in all_raised(facts.history, facts.rules):
        last[raised.image_id, rule.trigger] = raised
    names = {rule.trigger for rule in window_rules(facts.rules)}
    actual = {key: t for key, t in facts.redis.alerts.items() if key[1] in names}

    def differences() -> Iterator[str]:
        for (image_id, trigger), raised in last.items():
            found = actual.get((image_id, trigger))
            key = f"image:{image_id}:alert:{trigger}"
            if not facts.is_complete(image_id):
                continue
            if found is None and raised.broker_time_us > facts.now_us - COOL_DOWN_US + SLACK_US:
                yield f"{key} is missing"
            elif found is not None and found != raised.time_us:
                yield f"{key} is {found / 1e6:.6f} instead of {raised.time_us / 1e6:.6f}"
        for image_id, trigger in actual.keys() - last.keys():
            image = facts.history.images.get(image_id)
            if facts.is_complete(image_id) and not (image and image.scattered):
                yield f"image:{image_id}:alert:{trigger} follows from no event"

    alive = sum(raised.broker_time_us > facts.now_us - COOL_DOWN_US + SLACK_US for raised in last.values())
    return check(
        "alerts", "alert keys hold the time of the last alert", max(alive, len(actual.keys() & last.keys())),
        len(actual), differences(),
    )  # fmt: skip


def view_milestones(facts: Facts) -> Check:
    """Rows of image_milestones, and the views that reached them."""
    expected = {
        (image_id, value)
        for image_id, image in facts.history.images.items()
        if image_id in facts.rows.images and facts.is_complete(image_id)
        for value in milestones(image.accepted["view"], TOTAL_TTL_US)
    }
    actual = {key for key in facts.rows.milestones if facts.is_complete(key[0])}
    return check(
        "milestones",
        "10th, 100th, 1000th view of each image",
        len(expected),
        len(actual),
        (
            *(f"milestone {value} of image {image_id} is missing" for image_id, value in sorted(expected - actual)),
            *(
                f"milestone {value} of image {image_id} was not reached"
                for image_id, value in sorted(actual - expected)
            ),
        ),
    )


REQUEST_CHECKS = (requests, contexts, copies, alerts, view_milestones)
