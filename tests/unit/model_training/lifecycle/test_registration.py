"""The alias of two registrations at the same time, in each order of their steps."""

from collections.abc import Callable

from model_training.lifecycle.registration import move_alias


class FakeVersions:
    """A registered name in memory; a hook runs before the alias moves, as another process would."""

    def __init__(self, newest: int, before_move: Callable[["FakeVersions"], None] = lambda _: None) -> None:
        self.newest = newest
        self.alias = 0
        self._hooks = [before_move]

    def newest_version(self) -> int:
        return self.newest

    def set_alias(self, version: int) -> None:
        if self._hooks:
            self._hooks.pop()(self)
        self.alias = version


def test_the_alias_moves_to_the_newest_version() -> None:
    versions = FakeVersions(newest=3)
    move_alias(versions)
    assert versions.alias == 3


def test_a_slow_registration_does_not_take_the_alias_from_a_later_one() -> None:
    def later_one(versions: FakeVersions) -> None:
        versions.newest = 4
        move_alias(versions)

    versions = FakeVersions(newest=3, before_move=later_one)
    move_alias(versions)
    assert versions.alias == 4
