"""The backfilled past: reproducible, consistent, and with harm that shows gradually."""

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import fmean
from uuid import UUID

import pytest

from data_generator.backfill.history import BackfillHistory, BackfillPlan, PastEvent, latest_end
from gourmetgram.features.definition import CATEGORIES
from gourmetgram.policy.eligibility import actor_eligible

END = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLAN = BackfillPlan(seed=7, end=END, days=7, images=600, events=40_000, test_account_rate=0.02)


@pytest.fixture(name="history", scope="module")
def history_fixture() -> BackfillHistory:
    return BackfillHistory(PLAN)


@pytest.fixture(name="events", scope="module")
def events_fixture(history: BackfillHistory) -> dict[int, list[PastEvent]]:
    return {number: list(history.events(number)) for number in range(PLAN.images)}


def test_the_same_seed_gives_the_same_history(history: BackfillHistory, events: dict[int, list[PastEvent]]) -> None:
    again = BackfillHistory(PLAN)
    assert again.users == history.users
    assert again.images == history.images
    # In another order: an image's events do not depend on which was asked for before.
    for number in reversed(range(0, PLAN.images, 17)):
        assert list(again.events(number)) == events[number]


def test_another_seed_gives_other_ids(history: BackfillHistory) -> None:
    other = BackfillHistory(replace(PLAN, seed=8))
    assert {image.id for image in other.images}.isdisjoint(image.id for image in history.images)
    assert {user.username for user in other.users}.isdisjoint(user.username for user in history.users)


def test_it_has_exactly_the_planned_numbers_and_ids_of_its_own(
    history: BackfillHistory, events: dict[int, list[PastEvent]]
) -> None:
    everything = [event for some in events.values() for event in some]
    assert len(history.images) == PLAN.images
    assert len(everything) == PLAN.events
    ids = [event.event_id for event in everything]
    ids += [event.id for event in everything if event.kind in ("comment", "flag") and event.id]
    ids += [image.id for image in history.images] + [user.id for user in history.users]
    assert len(set(ids)) == len(ids)
    assert all(str(UUID(each)) == each and UUID(each).version == 4 for each in ids)
    counts = Counter(event.kind for event in everything)
    assert counts["upload"] == PLAN.images
    assert counts["view"] == sum(history.views(number) for number in range(PLAN.images))


def test_nothing_happens_before_its_cause_or_after_the_end(
    history: BackfillHistory, events: dict[int, list[PastEvent]]
) -> None:
    start_us, end_us = history.bounds_us
    joined = {user.id: user.created_us for user in history.users}
    for number, some in events.items():
        image = history.images[number]
        assert start_us <= image.created_us <= end_us
        assert joined[history.uploader(image).id] < image.created_us
        comments = {event.id: event.at_us for event in some if event.kind == "comment"}
        for event in some:
            assert image.created_us <= event.at_us <= end_us
            if event.user_id:
                assert joined[event.user_id] <= event.at_us
            if event.comment_id:
                assert comments[event.comment_id] < event.at_us


def test_eligibility_follows_the_platforms_rule(history: BackfillHistory, events: dict[int, list[PastEvent]]) -> None:
    users = {user.id: user for user in history.users}
    judged = [event for some in events.values() for event in some if event.user_id]
    assert {event.eligible for event in judged} == {True, False}
    for event in judged:
        user = users[str(event.user_id)]
        assert event.eligible == actor_eligible(
            is_test_account=user.is_test_account, year_of_birth=user.year_of_birth, event_year=2026
        )


def test_categories_are_the_platforms(history: BackfillHistory) -> None:
    assert {image.category for image in history.images} == set(CATEGORIES)


def test_harm_shows_gradually_and_not_through_popularity(
    history: BackfillHistory, events: dict[int, list[PastEvent]]
) -> None:
    severities: dict[bool, list[float]] = {True: [], False: []}
    popularity: dict[bool, list[float]] = {True: [], False: []}
    flag_rate = defaultdict(list)
    for number, image in enumerate(history.images):
        severities[image.traits.harmful].append(image.traits.severity)
        popularity[image.traits.harmful].append(image.traits.popularity)
        flags = sum(event.kind == "flag" for event in events[number])
        flag_rate[int(3 * image.traits.severity)].append(flags / max(1, history.views(number)))
    rates = [fmean(flag_rate[third]) for third in range(3)]
    assert rates == sorted(rates)
    assert rates[0] < rates[2] / 3
    # Overlap: some harmless images look worse than some harmful ones.
    assert max(severities[False]) > min(severities[True])
    assert fmean(popularity[True]) == pytest.approx(fmean(popularity[False]), rel=0.5)
    # Some of the most viewed images are harmless: counting alone does not tell.
    viewed = sorted(range(PLAN.images), key=history.views, reverse=True)[:30]
    assert any(not history.images[number].traits.harmful for number in viewed)


def test_it_ends_so_long_ago_that_no_event_can_raise_an_alert() -> None:
    for now in (END, END + timedelta(minutes=1), END + timedelta(minutes=59, seconds=59)):
        assert timedelta(hours=1) <= now - latest_end(now) < timedelta(hours=2)
