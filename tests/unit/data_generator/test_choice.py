"""Weighted choice: the same as adding up by hand, within bounded memory."""

import random
from collections import Counter
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from data_generator.choice import FenwickTree, RecentItems, WeightedChoice

WEIGHTS = st.lists(st.integers(0, 50), min_size=1, max_size=70)
CHANGES = st.lists(st.tuples(st.integers(0, 69), st.integers(0, 50)), max_size=40)


@given(WEIGHTS, CHANGES)
def test_the_tree_finds_what_a_running_sum_finds(weights: list[int], changes: list[tuple[int, int]]) -> None:
    tree = FenwickTree(len(weights))
    for index, weight in enumerate(weights):
        tree[index] = weight
    for index, weight in changes:
        weights[index % len(weights)] = weight
        tree[index % len(weights)] = weight
    running = list(accumulate(weights))
    assert tree.total == running[-1]
    for position in range(tree.total):
        assert tree.find(position) == next(index for index, total in enumerate(running) if total > position)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 30), st.integers(1, 9)),
        st.tuples(st.just("increase"), st.integers(0, 30), st.integers(1, 9)),
        st.tuples(st.just("remove"), st.integers(0, 30), st.just(0)),
    ),
    max_size=60,
)


class NaiveChoice:
    """What `WeightedChoice` promises, with a list: slots in a ring, each taken by the item added last."""

    def __init__(self, capacity: int) -> None:
        self.slots: list[tuple[int, int] | None] = [None] * capacity
        self.added = 0

    def apply(self, operation: str, item: int, amount: int) -> None:
        place = next((i for i, slot in enumerate(self.slots) if slot and slot[0] == item), None)
        if operation == "add" and place is None:
            self.slots[self.added % len(self.slots)] = (item, amount)
            self.added += 1
        elif place is not None and operation == "increase":
            self.slots[place] = (item, self.slots[place][1] + amount)  # type: ignore[index]
        elif place is not None and operation == "remove":
            self.slots[place] = None

    def weights(self) -> dict[int, int]:
        return dict(slot for slot in self.slots if slot)


@given(st.integers(1, 8), OPERATIONS)
def test_items_and_weights_are_those_of_a_plain_list(capacity: int, operations: list[tuple[str, int, int]]) -> None:
    choice: WeightedChoice[int] = WeightedChoice(capacity)
    naive = NaiveChoice(capacity)
    for operation, item, amount in operations:
        arguments = () if operation == "remove" else (amount,)
        getattr(choice, operation)(item, *arguments)
        naive.apply(operation, item, amount)
        weights = naive.weights()
        assert len(choice) == len(weights) <= capacity
        assert all(item in choice for item in weights)
    drawn = every_position(choice)
    assert drawn == naive.weights()


def every_position(choice: WeightedChoice[int]) -> dict[int, int]:
    """How many of the equally likely positions lead to each item: its weight."""
    positions = Position()
    counts: Counter[int | None] = Counter()
    while True:
        item = choice.draw(positions)
        if item is None:
            return {}
        counts[item] += 1
        positions.value += 1
        if positions.value == positions.total:
            return {item: count for item, count in counts.items() if item is not None}


class Position(random.Random):
    """Not random at all: gives every position in turn."""

    value = 0
    total = 0

    def randrange(self, total: int) -> int:  # type: ignore[override]
        self.total = total
        return self.value


def test_nothing_can_be_drawn_from_nothing() -> None:
    assert WeightedChoice[str](4).draw(random.Random(1)) is None


def test_engagement_makes_an_item_likelier() -> None:
    choice: WeightedChoice[str] = WeightedChoice(100)
    choice.add("quiet")
    choice.add("popular")
    choice.increase("popular", 8)
    rng = random.Random(1)
    share = sum(choice.draw(rng) == "popular" for _ in range(5000)) / 5000
    assert abs(share - 0.9) < 0.02


def test_a_known_item_keeps_its_weight_when_it_is_added_again() -> None:
    choice: WeightedChoice[int] = WeightedChoice(3)
    choice.add(1, 5)
    choice.add(1, 9)
    assert every_position(choice) == {1: 5}


def test_the_oldest_item_makes_room() -> None:
    items: RecentItems[int] = RecentItems(3)
    for number in range(10):
        items.add(number)
    rng = random.Random(1)
    assert len(items) == 3
    assert {items.draw(rng) for _ in range(200)} == {7, 8, 9}
