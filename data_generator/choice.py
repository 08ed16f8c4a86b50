"""Weighted choice among a bounded number of images, in O(log n) a step."""

import random
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class FenwickTree:
    """Fenwick tree: prefix sums over an array of integers; an update and a search take O(log n).

    P. Fenwick, "A new data structure for cumulative frequency tables", Software: Practice and Experience 24 (1994).

    Args:
        size: length of the array; all numbers start at 0.
    """

    def __init__(self, size: int) -> None:
        self._values = [0] * size
        # Cell i (from 1) holds the sum of the last `i & -i` numbers up to and including number i.
        self._sums = [0] * (size + 1)
        self._top = 1 << size.bit_length()
        self.total = 0

    def __getitem__(self, index: int) -> int:
        return self._values[index]

    def __setitem__(self, index: int, value: int) -> None:
        change = value - self._values[index]
        self._values[index] = value
        self.total += change
        cell = index + 1
        while cell < len(self._sums):
            self._sums[cell] += change
            cell += cell & -cell

    def find(self, position: int) -> int:
        """The index whose share of the running sum covers `position`.

        Args:
            position: 0 to total - 1.

        Returns:
            the smallest index for which the sum of numbers 0 to index is greater than `position`.
        """
        cell, step = 0, self._top
        while step:
            following = cell + step
            if following < len(self._sums) and self._sums[following] <= position:
                position -= self._sums[following]
                cell = following
            step >>= 1
        return cell


class WeightedChoice(Generic[T]):
    """Items with weights; `draw` picks each with a probability in proportion to its weight.

    Holds at most `capacity` items. A further item replaces the oldest one, whatever its weight. So interest moves on
    from old images, and memory stays bounded.

    Args:
        capacity: most items at a time.
    """

    def __init__(self, capacity: int) -> None:
        self._items: list[T | None] = [None] * capacity
        self._weights = FenwickTree(capacity)
        self._places: dict[T, int] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, item: T) -> bool:
        return item in self._places

    def add(self, item: T, weight: int = 1) -> None:
        """Add an item; a known item keeps its weight."""
        if item in self._places:
            return
        place, self._next = self._next, (self._next + 1) % len(self._items)
        oldest = self._items[place]
        if oldest is not None:
            del self._places[oldest]
        self._items[place] = item
        self._places[item] = place
        self._weights[place] = weight

    def increase(self, item: T, amount: int) -> None:
        """Add to an item's weight; an item that is no longer held is ignored."""
        place = self._places.get(item)
        if place is not None:
            self._weights[place] += amount

    def remove(self, item: T) -> None:
        """Remove an item; an item that is no longer held is ignored."""
        place = self._places.pop(item, None)
        if place is not None:
            self._items[place] = None
            self._weights[place] = 0

    def draw(self, rng: random.Random) -> T | None:
        """A random item, or None when there is none."""
        if self._weights.total == 0:
            return None
        return self._items[self._weights.find(rng.randrange(self._weights.total))]


class RecentItems(Generic[T]):
    """The last `capacity` different items, for uniform choice; a further one replaces the oldest.

    Args:
        capacity: most items at a time.
    """

    def __init__(self, capacity: int) -> None:
        self._chosen_from: WeightedChoice[T] = WeightedChoice(capacity)

    def __len__(self) -> int:
        return len(self._chosen_from)

    def add(self, item: T) -> None:
        """Remember an item."""
        self._chosen_from.add(item)

    def remove(self, item: T) -> None:
        """Remove an item."""
        self._chosen_from.remove(item)

    def draw(self, rng: random.Random) -> T | None:
        """A random item, each equally likely, or None when there is none."""
        return self._chosen_from.draw(rng)
