"""From which sequence the relay reads."""

from api_v2.relay import Floor


def test_the_first_look_sees_everything() -> None:
    assert Floor().value(0.0) == 0


def test_numbers_count_as_settled_only_after_a_while() -> None:
    floor = Floor()
    floor.value(100.0)
    floor.published_up_to(50, 100.0)
    assert floor.value(101.0) == 0
    # Past the regular full look, and past the time a writing transaction may take.
    floor.value(100.0 + Floor.SETTLED_AFTER_S + 0.1)
    assert floor.value(100.0 + Floor.SETTLED_AFTER_S + 0.2) == 50


def test_every_so_often_everything_is_looked_at_again() -> None:
    floor = Floor()
    floor.value(0.0)
    floor.published_up_to(50, 0.0)
    looks = [floor.value(20.0 + step) for step in range(12)]
    assert looks.count(0) == 3
    assert set(looks) == {0, 50}
